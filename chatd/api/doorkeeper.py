"""The doorkeeper: lets in who shows a token, and shows out whose token is not valid any more.

It remembers the tokens that are in use, and asks for all of them in one statement every half second;
so a request costs no round trip, and a token that was revoked anywhere is refused here within a
second. Tokens it does not know are asked for together, one statement at a time: however many
strangers knock, the database hears of it once a round trip.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import anyio

from chatd.api.auth import NO_CREDENTIAL, Identity, Pass, unauthorized
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.tokens import TOKEN_PREFIX, Tokens, ValidToken, hash_token
from chatd.supervision.actor import ChildHandle
from chatd.supervision.periodic import Periodic

_TRUST_SECONDS = 0.9
"""How old an answer may be: with the length of a request, a second at most."""

_REMEMBER_SECONDS = 60.0
"""How long a token is asked for after it was used last."""

_RECORD_SECONDS = 10.0
"""How often the use of a token is recorded."""

_MOST_REFUSED = 10_000
"""How many refused tokens are remembered. None ever becomes valid again."""


@dataclass(slots=True)
class _Known:
    """A token that is in use: what it lets in, and when it was asked for, used, recorded as used."""

    passed: Pass
    checked_at: float
    used_at: float
    recorded_at: float

    def is_fresh(self, now: float) -> bool:
        return now - self.checked_at < _TRUST_SECONDS and now < self.passed.until


@dataclass(slots=True)
class _Round:
    """Tokens that are asked for in one statement, and what became of it."""

    digests: set[bytes] = field(default_factory=set)
    over: bool = False
    away: DatabaseUnavailable | None = None


class Doorkeeper:
    """Knows callers by the tokens of ``chatd token create``."""

    def __init__(self, tokens: Tokens, *, check_seconds: float = 0.5) -> None:
        self._tokens = tokens
        self._known: dict[bytes, _Known] = {}
        self._refused: set[bytes] = set()
        self._next = _Round()
        self._asking = anyio.Lock()
        self._loop = Periodic(
            self.step, interval_seconds=check_seconds, expected_errors=(DatabaseUnavailable,)
        )

    async def admit(self, credential: str | None) -> Pass:
        """The pass of a token. Raises ``BadRequest`` (401), ``DatabaseUnavailable``."""
        if credential is None:
            raise unauthorized(NO_CREDENTIAL)
        asked = hash_token(credential)
        known = self._known.get(asked)
        if known is None or not known.is_fresh(anyio.current_time()):
            if credential.startswith(TOKEN_PREFIX) and asked not in self._refused:
                await self._ask(asked)
            known = self._known.get(asked)
        if known is None:
            raise unauthorized("This token is unknown, expired or revoked.")
        known.used_at = anyio.current_time()
        return known.passed

    async def step(self) -> None:
        """Ask for the tokens that are in use."""
        now = anyio.current_time()
        for asked, known in tuple(self._known.items()):
            if now >= known.passed.until:
                self._refuse(asked)
            elif not known.passed.stays and now - known.used_at > _REMEMBER_SECONDS:
                self._forget(asked)
        if self._known:
            await self._check(tuple(self._known))

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)

    async def _ask(self, asked: bytes) -> None:
        """Ask for a token, together with all others that are waiting to be asked for."""
        mine = self._next
        mine.digests.add(asked)
        async with self._asking:
            if not mine.over:
                if mine is self._next:
                    self._next = _Round()
                try:
                    await self._check(mine.digests)
                except DatabaseUnavailable as error:
                    mine.away = error
                mine.over = True
        if mine.away is not None:
            raise DatabaseUnavailable(str(mine.away)) from mine.away

    async def _check(self, digests: Collection[bytes]) -> None:
        now = anyio.current_time()
        used = [asked for asked in digests if self._is_due(asked, now)]
        found = {
            valid.token_hash: valid
            for valid in await self._tokens.validate(digests, used_hashes=used)
        }
        for asked in digests:
            if asked in found and asked not in self._refused:
                self._keep(found[asked], now)
            else:
                self._refuse(asked)
        for asked in used:
            if asked in self._known:
                self._known[asked].recorded_at = now

    def _is_due(self, asked: bytes, now: float) -> bool:
        """Whether the use of a token is to be recorded: one that is new here was used just now."""
        known = self._known.get(asked)
        if known is None:
            return True
        used = bool(known.passed.stays) or known.used_at > known.recorded_at
        return used and now - known.recorded_at >= _RECORD_SECONDS

    def _keep(self, valid: ValidToken, now: float) -> None:
        identity = Identity(valid.owner_id, valid.admin)
        known = self._known.get(valid.token_hash)
        if known is None or known.passed.identity != identity:
            self._forget(valid.token_hash)
            known = self._known[valid.token_hash] = _Known(Pass(identity=identity), now, now, now)
        known.checked_at = max(known.checked_at, now)
        if valid.expires_in_seconds is not None:  # as of the answer: who comes back then is refused
            known.passed.until = anyio.current_time() + valid.expires_in_seconds

    def _refuse(self, asked: bytes) -> None:
        if len(self._refused) >= _MOST_REFUSED:
            self._refused.clear()
        self._refused.add(asked)
        self._forget(asked)

    def _forget(self, asked: bytes) -> None:
        known = self._known.pop(asked, None)
        if known is not None:
            known.passed.end()
