"""Authentication by access tokens, with a cache that is validated twice a second.

Tokens in use are cached and validated together in one statement every half second. A request thus
costs no round trip, and a token that was revoked on any replica is rejected here within a second.
Unknown tokens are looked up in batches, one statement at a time, so a flood of requests with invalid
tokens costs the database one statement per round trip.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import anyio

from chatd.api.auth.identity import NO_CREDENTIAL_DETAIL, Grant, Identity, unauthorized
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.tokens import TOKEN_PREFIX, Tokens, ValidToken, hash_token
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic

_CHECK_INTERVAL_SECONDS = 0.5
"""Interval of the validation of all cached tokens."""

_CACHE_TTL_SECONDS = 0.9
"""Maximum age of a validation. Together with the statement itself it stays below a second."""

_IDLE_TTL_SECONDS = 60.0
"""Time after its last use for which a token stays cached."""

_LAST_USED_INTERVAL_SECONDS = 10.0
"""Minimum interval between two updates of a token's ``last_used_at``."""

_MAX_REJECTED = 10_000
"""Number of rejected tokens to remember. A rejected token never becomes valid again."""


@dataclass(slots=True)
class _CachedToken:
    """A token in use: its grant, and when it was last validated, used, and recorded as used."""

    grant: Grant
    checked_at: float
    used_at: float
    recorded_at: float

    def is_fresh(self, now: float) -> bool:
        return now - self.checked_at < _CACHE_TTL_SECONDS and now < self.grant.expires_at


@dataclass(slots=True)
class _LookupBatch:
    """Tokens to look up in one statement, and the outcome of that statement."""

    token_hashes: set[bytes] = field(default_factory=set)
    done: bool = False
    error: DatabaseUnavailable | None = None


class TokenAuthenticator:
    """Authenticator for the access tokens of ``chatd token create``."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._cached: dict[bytes, _CachedToken] = {}
        self._rejected: set[bytes] = set()
        self._next_batch = _LookupBatch()
        self._lookup_lock = anyio.Lock()
        self._loop = Periodic(
            self.step,
            interval_seconds=_CHECK_INTERVAL_SECONDS,
            expected_errors=(DatabaseUnavailable,),
        )

    async def authenticate(self, credential: str | None) -> Grant:
        """Return the grant of a token. Raises ``HttpProblem`` (401), ``DatabaseUnavailable``."""
        if credential is None:
            raise unauthorized(NO_CREDENTIAL_DETAIL)
        token_hash = hash_token(credential)
        cached = self._cached.get(token_hash)
        if cached is None or not cached.is_fresh(anyio.current_time()):
            if credential.startswith(TOKEN_PREFIX) and token_hash not in self._rejected:
                await self._look_up(token_hash)
            cached = self._cached.get(token_hash)
        if cached is None:
            raise unauthorized("This token is unknown, expired or revoked.")
        cached.used_at = anyio.current_time()
        return cached.grant

    async def step(self) -> None:
        """Validate the cached tokens, and drop those that expired or are no longer used."""
        now = anyio.current_time()
        for token_hash, cached in tuple(self._cached.items()):
            if now >= cached.grant.expires_at:
                self._reject(token_hash)
            elif not cached.grant.end_callbacks and now - cached.used_at > _IDLE_TTL_SECONDS:
                self._evict(token_hash)
        if self._cached:
            await self._validate(tuple(self._cached))

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)

    async def _look_up(self, token_hash: bytes) -> None:
        """Look up a token, in one statement with all others that are waiting for a look-up."""
        batch = self._next_batch
        batch.token_hashes.add(token_hash)
        async with self._lookup_lock:
            if not batch.done:
                if batch is self._next_batch:
                    self._next_batch = _LookupBatch()
                try:
                    await self._validate(batch.token_hashes)
                except DatabaseUnavailable as error:
                    batch.error = error
                batch.done = True
        if batch.error is not None:
            raise DatabaseUnavailable(str(batch.error)) from batch.error

    async def _validate(self, token_hashes: Collection[bytes]) -> None:
        now = anyio.current_time()
        used_hashes = [each for each in token_hashes if self._should_record_use(each, now)]
        valid_tokens = {
            valid.token_hash: valid
            for valid in await self._tokens.validate(token_hashes, used_hashes=used_hashes)
        }
        for token_hash in token_hashes:
            if token_hash in valid_tokens and token_hash not in self._rejected:
                self._store(valid_tokens[token_hash], now)
            else:
                self._reject(token_hash)
        for token_hash in used_hashes:
            if token_hash in self._cached:
                self._cached[token_hash].recorded_at = now

    def _should_record_use(self, token_hash: bytes, now: float) -> bool:
        """Return whether to record the use of a token. A token that is not cached was used just now."""
        cached = self._cached.get(token_hash)
        if cached is None:
            return True
        used = bool(cached.grant.end_callbacks) or cached.used_at > cached.recorded_at
        return used and now - cached.recorded_at >= _LAST_USED_INTERVAL_SECONDS

    def _store(self, valid_token: ValidToken, now: float) -> None:
        identity = Identity.of_credential(
            valid_token.owner_id, valid_token.scopes, token_id=valid_token.id
        )
        cached = self._cached.get(valid_token.token_hash)
        if cached is None or cached.grant.identity != identity:
            self._evict(valid_token.token_hash)
            cached = self._cached[valid_token.token_hash] = _CachedToken(
                Grant(identity=identity), now, now, now
            )
        cached.checked_at = max(cached.checked_at, now)
        if valid_token.expires_in_seconds is not None:
            # The expiry counts from the database's answer, so it is a little late: when its streams end,
            # the database rejects it too.
            cached.grant.expires_at = anyio.current_time() + valid_token.expires_in_seconds

    def _reject(self, token_hash: bytes) -> None:
        if len(self._rejected) >= _MAX_REJECTED:
            self._rejected.clear()
        self._rejected.add(token_hash)
        self._evict(token_hash)

    def _evict(self, token_hash: bytes) -> None:
        cached = self._cached.pop(token_hash, None)
        if cached is not None:
            cached.grant.end()
