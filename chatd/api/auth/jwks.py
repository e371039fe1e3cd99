"""The public keys of an identity provider: a JSON Web Key Set, in a file or at a URL."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
    "Ed25519": ("EdDSA", "Ed25519"),
}
"""Algorithms by kind of key. All are asymmetric: chatd never holds a key that could sign."""

_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
_SAME_ALGORITHMS: Final = ("EdDSA", "Ed25519")
"""Two names of one algorithm: that of RFC 8037, and the later one of RFC 9864."""
_MAX_CANDIDATES: Final = 16
"""Keys that are tried for one token. Key sets have a few, and each costs a verification."""
_MAX_BYTES = 1024 * 1024
_FETCH_TIMEOUT_SECONDS = 5.0
_REFRESH_INTERVAL_SECONDS = 300.0
_MIN_REFRESH_INTERVAL_SECONDS = 10.0
"""Minimum interval between two readings for unknown keys, however many requests name one."""


class JwksUnavailable(ChatdError):
    """The identity provider's key set is temporarily unavailable."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the algorithms that it may verify."""

    material: AllowedPublicKeys
    algorithms: Sequence[str]


Keys = Sequence[tuple[str | None, VerificationKey]]
"""The keys of a set with their ids. A set may have several keys without an id, or with the same one."""


class JwksClient:
    """Reader of the key set at ``source``, a path or a URL.

    The set is read periodically, and when an unknown key is requested. While it cannot be read, the last
    keys stay in use.
    """

    def __init__(
        self,
        source: str,
    ) -> None:
        self._source = source
        self._keys: Keys | None = None
        self._refreshed_at = float("-inf")
        self._refresh_lock = anyio.Lock()
        self._loop = Periodic(
            self.refresh,
            interval_seconds=_REFRESH_INTERVAL_SECONDS,
            expected_errors=(JwksUnavailable,),
        )

    async def keys(self, kid: str | None) -> Sequence[VerificationKey]:
        """Return the keys with this id, or all of them if ``kid`` is None. Raises ``JwksUnavailable``."""
        if not self._find(kid):
            async with self._refresh_lock:
                if not self._find(kid) and self._may_refresh():
                    await self._refresh()
        if self._keys is None:
            raise JwksUnavailable(f"auth.jwks: {JwksUnavailable.__doc__}")
        return self._find(kid)

    async def refresh(self) -> None:
        """Read the key set again. Raises ``JwksUnavailable``."""
        async with self._refresh_lock:
            await self._refresh()

    async def check_readable(self) -> None:
        """Check that a file can be read: if not, the configuration is wrong. Raises ``FatalError``."""
        if not _is_url(self._source):
            with self._fatal_if_file():
                await self._load()

    async def run(self, child: ChildHandle) -> None:
        """Refresh the keys periodically."""
        with self._fatal_if_file():
            await self.refresh()
        await self._loop.run(child)

    @contextmanager
    def _fatal_if_file(self) -> Iterator[None]:
        """Raise ``FatalError`` if a file cannot be read at startup. A URL may become readable later."""
        try:
            yield
        except JwksUnavailable as error:
            if not _is_url(self._source):
                raise FatalError(str(error)) from None  # a cause would choose the exit code

    def _find(self, kid: str | None) -> Sequence[VerificationKey]:
        found = [key for key_id, key in self._keys or () if kid is None or key_id == kid]
        return found[:_MAX_CANDIDATES]

    def _may_refresh(self) -> bool:
        return anyio.current_time() - self._refreshed_at >= _MIN_REFRESH_INTERVAL_SECONDS

    async def _refresh(self) -> None:
        self._refreshed_at = anyio.current_time()
        keys = await self._load()
        if self._keys is None or _ids(self._keys) != _ids(keys):
            _log.info("auth.jwks_changed", keys=len(keys))
        self._keys = keys

    async def _load(self) -> Keys:
        try:
            with anyio.fail_after(_FETCH_TIMEOUT_SECONDS):
                text = await (_fetch if _is_url(self._source) else _read_file)(self._source)
            return _parse(from_json(text))
        except (httpx2.HTTPError, OSError, ValueError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise JwksUnavailable(f"auth.jwks: cannot read {self._source}: {reason}") from error


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


async def _read_file(source: str) -> bytes:
    async with await anyio.open_file(Path(source), "rb") as file:
        return await file.read(_MAX_BYTES)


async def _fetch(source: str) -> bytes:
    text = b""
    async with (
        httpx2.AsyncClient(timeout=_FETCH_TIMEOUT_SECONDS) as http,
        http.stream("GET", source) as response,
    ):
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            text += chunk
            if len(text) > _MAX_BYTES:
                raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    return text


def _ids(keys: Keys) -> list[str]:
    return sorted(kid or "" for kid, _ in keys)


def _parse(document: Any) -> Keys:
    """Return the usable keys of a key set with their ids. Raises ``ValueError`` if there is none."""
    jwks = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(jwks, list):
        raise ValueError("it is not a JSON Web Key Set")  # noqa: TRY004 - the content is wrong, not a call
    keys: list[tuple[str | None, VerificationKey]] = []
    for jwk in jwks:
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        key = _parse_key(jwk) if isinstance(jwk, dict) and isinstance(kid, str | None) else None
        if key is not None:
            keys.append((kid, key))
    if not keys:
        raise ValueError("it has no key that verifies signatures")
    return keys


def _parse_key(jwk: Mapping[str, Any]) -> VerificationKey | None:
    """Return a public key. None for other kinds: symmetric keys (``oct``) are never accepted."""
    kind = "RSA" if jwk.get("kty") == "RSA" else jwk.get("crv")
    supported = ALGORITHMS.get(kind, ()) if isinstance(kind, str) else ()
    declared = jwk.get("alg")
    accepted = _SAME_ALGORITHMS if declared in _SAME_ALGORITHMS else (declared,)
    algorithms = tuple(name for name in supported if declared is None or name in accepted)
    if not algorithms or jwk.get("use", "sig") != "sig":
        return None
    public = {name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk}
    try:
        return VerificationKey(PyJWK(public, algorithms[0]).key, algorithms)
    except PyJWTError:
        return None
