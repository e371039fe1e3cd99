"""The public keys of an identity provider: a JSON Web Key Set, in a file or at a URL."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import structlog
from jwt import PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys
from pydantic_core import from_json

from chatd.domain.errors import ChatdError
from chatd.supervision.child import ChildHandle, FatalError
from chatd.supervision.periodic import Periodic

_log = structlog.get_logger()

ALGORITHMS: Mapping[str, Sequence[str]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
"""What a key of each kind may verify: signatures of a private key that we do not have, nothing else."""

_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
_MAX_BYTES = 1024 * 1024
_FETCH_TIMEOUT_SECONDS = 5.0


class JwksUnavailable(ChatdError):
    """The key set cannot be read just now."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the algorithms it may be used with."""

    material: AllowedPublicKeys
    algorithms: Sequence[str]


class JwksClient:
    """The keys of ``source``, a path or a URL.

    It is read every ``refresh_interval_seconds``, and when a key is asked for that it does not have, but not
    more often than every ``min_refresh_interval_seconds``. While it cannot be read, the keys it had stay.
    """

    def __init__(
        self,
        source: str,
        *,
        refresh_interval_seconds: float = 300.0,
        min_refresh_interval_seconds: float = 10.0,
    ) -> None:
        self._source = source
        self._min_refresh_interval_seconds = min_refresh_interval_seconds
        self._keys: Mapping[str | None, VerificationKey] | None = None
        self._refreshed_at = float("-inf")
        self._refresh_lock = anyio.Lock()
        self._loop = Periodic(
            self.refresh,
            interval_seconds=refresh_interval_seconds,
            expected_errors=(JwksUnavailable,),
        )

    async def key(self, kid: str | None) -> VerificationKey | None:
        """The key of this name; without a name, the only one there is. Raises ``JwksUnavailable``."""
        if self._find(kid) is None:
            async with self._refresh_lock:
                if self._find(kid) is None and self._may_refresh():
                    await self._refresh()
        if self._keys is None:
            raise JwksUnavailable(f"auth.jwks: {JwksUnavailable.__doc__}")
        return self._find(kid)

    async def refresh(self) -> None:
        """Read the set anew. Raises ``JwksUnavailable``."""
        async with self._refresh_lock:
            await self._refresh()

    async def check_readable(self) -> None:
        """See that a file can be read: at the start that is a mistake, no outage. Raises ``FatalError``."""
        if not _is_url(self._source):
            with self._fatal_if_file():
                await self._load()

    async def run(self, child: ChildHandle) -> None:
        """Keep the keys fresh."""
        with self._fatal_if_file():
            await self.refresh()
        await self._loop.run(child)

    @contextmanager
    def _fatal_if_file(self) -> Iterator[None]:
        """At the start a file that cannot be read is a mistake; a URL may be had later."""
        try:
            yield
        except JwksUnavailable as error:
            if not _is_url(self._source):
                raise FatalError(str(error)) from error

    def _find(self, kid: str | None) -> VerificationKey | None:
        keys = self._keys or {}
        if kid is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    def _may_refresh(self) -> bool:
        return anyio.current_time() - self._refreshed_at >= self._min_refresh_interval_seconds

    async def _refresh(self) -> None:
        self._refreshed_at = anyio.current_time()
        keys = await self._load()
        if self._keys is None or self._keys.keys() != keys.keys():
            _log.info("auth.jwks_changed", keys=len(keys))
        self._keys = keys

    async def _load(self) -> Mapping[str | None, VerificationKey]:
        try:
            with anyio.fail_after(_FETCH_TIMEOUT_SECONDS):
                text = await (_fetch if _is_url(self._source) else _read_file)(self._source)
            return _parse(from_json(text))
        except (httpx2.HTTPError, OSError, ValueError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise JwksUnavailable(f"auth.jwks: cannot read {self._source}: {why}") from error


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


async def _read_file(source: str) -> bytes:
    async with await anyio.open_file(Path(source), "rb") as file:
        return await file.read(_MAX_BYTES)


async def _fetch(source: str) -> bytes:
    text = b""
    async with (
        httpx2.AsyncClient(timeout=_FETCH_TIMEOUT_SECONDS) as http,
        http.stream("GET", source) as answer,
    ):
        answer.raise_for_status()
        async for chunk in answer.aiter_bytes():
            text += chunk
            if len(text) > _MAX_BYTES:
                raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    return text


def _parse(document: Any) -> Mapping[str | None, VerificationKey]:
    """The keys of a set by their names. Raises ``ValueError`` when there is none that can be used."""
    given = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(given, list):
        raise ValueError("it is not a JSON Web Key Set")  # noqa: TRY004 - for whoever wrote the file
    keys: dict[str | None, VerificationKey] = {}
    for one in given:
        kid = one.get("kid") if isinstance(one, dict) else None
        key = _parse_key(one) if isinstance(one, dict) and isinstance(kid, str | None) else None
        if key is not None:
            keys[kid] = key
    if not keys:
        raise ValueError("it has no key that verifies signatures")
    return keys


def _parse_key(jwk: Mapping[str, Any]) -> VerificationKey | None:
    """None for a key of another kind or purpose; a secret one (``oct``) has no place in a key set."""
    kind = "RSA" if jwk.get("kty") == "RSA" else jwk.get("crv")
    fitting = ALGORITHMS.get(kind, ()) if isinstance(kind, str) else ()
    named = jwk.get("alg")
    algorithms = tuple(name for name in fitting if named is None or named == name)
    if not algorithms or jwk.get("use", "sig") != "sig":
        return None
    public = {name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk}
    try:
        return VerificationKey(PyJWK(public, algorithms[0]).key, algorithms)
    except PyJWTError:
        return None
