"""The doorkeeper: lets in who shows a token, and shows out whose token is not valid any more.

It remembers the tokens that are in use, and asks for all of them in one statement every half second;
so a request costs no round trip, and a token that was revoked anywhere is refused here within a
second. Tokens it does not know are asked for together, one statement at a time: however many
strangers knock, the database hears of it once a round trip.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import anyio

from chatd.api.auth.identity import UNAUTHENTICATED_DETAIL, Grant, Identity, unauthorized
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.tokens import TOKEN_PREFIX, Tokens, ValidToken, hash_token
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic

_CACHE_TTL_SECONDS = 0.9
"""How old an answer may be: with the length of a request, a second at most."""

_IDLE_TTL_SECONDS = 60.0
"""How long a token is asked for after it was used last."""

_LAST_USED_INTERVAL_SECONDS = 10.0
"""How often the use of a token is recorded."""

_MAX_REJECTED = 10_000
"""How many refused tokens are remembered. None ever becomes valid again."""


@dataclass(slots=True)
class _CachedToken:
    """A token that is in use: what it lets in, and when it was asked for, used, recorded as used."""

    grant: Grant
    checked_at: float
    used_at: float
    recorded_at: float

    def is_fresh(self, now: float) -> bool:
        return now - self.checked_at < _CACHE_TTL_SECONDS and now < self.grant.expires_at


@dataclass(slots=True)
class _LookupBatch:
    """Tokens that are asked for in one statement, and what became of it."""

    token_hashes: set[bytes] = field(default_factory=set)
    done: bool = False
    error: DatabaseUnavailable | None = None


class TokenAuthenticator:
    """Knows callers by the tokens of ``chatd token create``."""

    def __init__(self, tokens: Tokens, *, check_interval_seconds: float = 0.5) -> None:
        self._tokens = tokens
        self._cached: dict[bytes, _CachedToken] = {}
        self._rejected: set[bytes] = set()
        self._next_batch = _LookupBatch()
        self._lookup_lock = anyio.Lock()
        self._loop = Periodic(
            self.step,
            interval_seconds=check_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    async def authenticate(self, credential: str | None) -> Grant:
        """The pass of a token. Raises ``HttpProblem`` (401), ``DatabaseUnavailable``."""
        if credential is None:
            raise unauthorized(UNAUTHENTICATED_DETAIL)
        asked = hash_token(credential)
        known = self._cached.get(asked)
        if known is None or not known.is_fresh(anyio.current_time()):
            if credential.startswith(TOKEN_PREFIX) and asked not in self._rejected:
                await self._look_up(asked)
            known = self._cached.get(asked)
        if known is None:
            raise unauthorized("This token is unknown, expired or revoked.")
        known.used_at = anyio.current_time()
        return known.grant

    async def step(self) -> None:
        """Ask for the tokens that are in use."""
        now = anyio.current_time()
        for asked, known in tuple(self._cached.items()):
            if now >= known.grant.expires_at:
                self._reject(asked)
            elif not known.grant.stream_sessions and now - known.used_at > _IDLE_TTL_SECONDS:
                self._evict(asked)
        if self._cached:
            await self._validate(tuple(self._cached))

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)

    async def _look_up(self, token_hash: bytes) -> None:
        """Ask for a token, together with all others that are waiting to be asked for."""
        mine = self._next_batch
        mine.token_hashes.add(token_hash)
        async with self._lookup_lock:
            if not mine.done:
                if mine is self._next_batch:
                    self._next_batch = _LookupBatch()
                try:
                    await self._validate(mine.token_hashes)
                except DatabaseUnavailable as error:
                    mine.error = error
                mine.done = True
        if mine.error is not None:
            raise DatabaseUnavailable(str(mine.error)) from mine.error

    async def _validate(self, token_hashes: Collection[bytes]) -> None:
        now = anyio.current_time()
        used = [asked for asked in token_hashes if self._should_record_use(asked, now)]
        found = {
            valid.token_hash: valid
            for valid in await self._tokens.validate(token_hashes, used_hashes=used)
        }
        for asked in token_hashes:
            if asked in found and asked not in self._rejected:
                self._store(found[asked], now)
            else:
                self._reject(asked)
        for asked in used:
            if asked in self._cached:
                self._cached[asked].recorded_at = now

    def _should_record_use(self, token_hash: bytes, now: float) -> bool:
        """Whether the use of a token is to be recorded: one that is new here was used just now."""
        known = self._cached.get(token_hash)
        if known is None:
            return True
        used = bool(known.grant.stream_sessions) or known.used_at > known.recorded_at
        return used and now - known.recorded_at >= _LAST_USED_INTERVAL_SECONDS

    def _store(self, valid_token: ValidToken, now: float) -> None:
        identity = Identity(valid_token.owner_id, valid_token.admin)
        known = self._cached.get(valid_token.token_hash)
        if known is None or known.grant.identity != identity:
            self._evict(valid_token.token_hash)
            known = self._cached[valid_token.token_hash] = _CachedToken(
                Grant(identity=identity), now, now, now
            )
        known.checked_at = max(known.checked_at, now)
        if (
            valid_token.expires_in_seconds is not None
        ):  # as of the answer: who comes back then is refused
            known.grant.expires_at = anyio.current_time() + valid_token.expires_in_seconds

    def _reject(self, token_hash: bytes) -> None:
        if len(self._rejected) >= _MAX_REJECTED:
            self._rejected.clear()
        self._rejected.add(token_hash)
        self._evict(token_hash)

    def _evict(self, token_hash: bytes) -> None:
        known = self._cached.pop(token_hash, None)
        if known is not None:
            known.grant.end()
