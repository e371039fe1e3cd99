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
from chatd.supervision.actor import ChildHandle, FatalError
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

_PUBLIC = ("kty", "n", "e", "crv", "x", "y")
_LARGEST = 1024 * 1024
_FETCH_SECONDS = 5.0


class KeySetAway(ChatdError):
    """The key set cannot be read just now."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the algorithms it may be used with."""

    material: AllowedPublicKeys
    algorithms: Sequence[str]


class KeySet:
    """The keys of ``source``, a path or a URL.

    It is read every ``refresh_seconds``, and when a key is asked for that it does not have, but not
    more often than every ``pause_seconds``. While it cannot be read, the keys it had stay.
    """

    def __init__(
        self, source: str, *, refresh_seconds: float = 300.0, pause_seconds: float = 10.0
    ) -> None:
        self._source = source
        self._pause_seconds = pause_seconds
        self._keys: Mapping[str | None, Key] | None = None
        self._read_at = float("-inf")
        self._reading = anyio.Lock()
        self._loop = Periodic(
            self.read, interval_seconds=refresh_seconds, expected_errors=(KeySetAway,)
        )

    async def key(self, kid: str | None) -> Key | None:
        """The key of this name; without a name, the only one there is. Raises ``KeySetAway``."""
        if self._find(kid) is None:
            async with self._reading:
                if self._find(kid) is None and self._may_read():
                    await self._read()
        if self._keys is None:
            raise KeySetAway(f"auth.jwks: {KeySetAway.__doc__}")
        return self._find(kid)

    async def read(self) -> None:
        """Read the set anew. Raises ``KeySetAway``."""
        async with self._reading:
            await self._read()

    async def check(self) -> None:
        """See that a file can be read: at the start that is a mistake, no outage. Raises ``FatalError``."""
        if not _is_url(self._source):
            with self._starting():
                await self._found()

    async def run(self, child: ChildHandle) -> None:
        """Keep the keys fresh."""
        with self._starting():
            await self.read()
        await self._loop.run(child)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """At the start a file that cannot be read is a mistake; a URL may be had later."""
        try:
            yield
        except KeySetAway as error:
            if not _is_url(self._source):
                raise FatalError(str(error)) from error

    def _find(self, kid: str | None) -> Key | None:
        keys = self._keys or {}
        if kid is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    def _may_read(self) -> bool:
        return anyio.current_time() - self._read_at >= self._pause_seconds

    async def _read(self) -> None:
        self._read_at = anyio.current_time()
        keys = await self._found()
        if self._keys is None or self._keys.keys() != keys.keys():
            _log.info("auth.key_set", keys=len(keys))
        self._keys = keys

    async def _found(self) -> Mapping[str | None, Key]:
        try:
            with anyio.fail_after(_FETCH_SECONDS):
                text = await (_fetched if _is_url(self._source) else _file)(self._source)
            return _usable(from_json(text))
        except (httpx2.HTTPError, OSError, ValueError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise KeySetAway(f"auth.jwks: cannot read {self._source}: {why}") from error


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


async def _file(source: str) -> bytes:
    async with await anyio.open_file(Path(source), "rb") as file:
        return await file.read(_LARGEST)


async def _fetched(source: str) -> bytes:
    text = b""
    async with (
        httpx2.AsyncClient(timeout=_FETCH_SECONDS) as http,
        http.stream("GET", source) as answer,
    ):
        answer.raise_for_status()
        async for chunk in answer.aiter_bytes():
            text += chunk
            if len(text) > _LARGEST:
                raise ValueError(f"it is larger than {_LARGEST} bytes")
    return text


def _usable(document: Any) -> Mapping[str | None, Key]:
    """The keys of a set by their names. Raises ``ValueError`` when there is none that can be used."""
    given = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(given, list):
        raise ValueError("it is not a JSON Web Key Set")  # noqa: TRY004 - for whoever wrote the file
    keys: dict[str | None, Key] = {}
    for one in given:
        kid = one.get("kid") if isinstance(one, dict) else None
        key = _key(one) if isinstance(one, dict) and isinstance(kid, str | None) else None
        if key is not None:
            keys[kid] = key
    if not keys:
        raise ValueError("it has no key that verifies signatures")
    return keys


def _key(given: Mapping[str, Any]) -> Key | None:
    """None for a key of another kind or purpose; a secret one (``oct``) has no place in a key set."""
    kind = "RSA" if given.get("kty") == "RSA" else given.get("crv")
    fitting = ALGORITHMS.get(kind, ()) if isinstance(kind, str) else ()
    named = given.get("alg")
    algorithms = tuple(name for name in fitting if named is None or named == name)
    if not algorithms or given.get("use", "sig") != "sig":
        return None
    public = {name: given[name] for name in _PUBLIC if name in given}
    try:
        return Key(PyJWK(public, algorithms[0]).key, algorithms)
    except PyJWTError:
        return None
