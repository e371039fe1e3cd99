"""Claim on send: a transition of a caller that starts a turn, and the claim of the chat, by one statement.

A process that has a free slot answers at once: without a hint, a claim, and mostly without a read. The
``Claimer`` says when it has one. A message for which this does not apply is sent by the ordinary statement.
The other transitions have one statement, whose parameters say whether it may claim.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias
from uuid import UUID

import anyio
import asyncpg

from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.claims import Claim, Claims
from chatd.store.database import Database
from chatd.store.database_errors import is_caused_by_data
from chatd.store.histories import ChatHistory, KnownHistories
from chatd.store.records import Row, TransitionResult
from chatd.store.slots import Slot, SlotSource
from chatd.telemetry import tracing

_Q = sql.load("claims")

NO_CLAIM: Final[Mapping[str, object]] = {
    "worker_id": None,
    "models": (),
    "advance": False,
    "claim_traceparent": None,
}
"""Parameters of a statement that may claim the chat, and is not to."""
Committed: TypeAlias = Callable[[Row], Awaitable[TransitionResult | None]]
"""Function that starts the turn of the chat that a row shows as claimed. None: it shows none."""
HistoryBefore: TypeAlias = Callable[[ChatHistory | None], ChatHistory | None]
"""Function that returns a history without what a transition removes, given the last known one."""
_SHIELD_SECONDS: Final = 1.0
"""Much longer than the statement takes, and less than requests have at a stop."""


@contextmanager
def _shielded(seconds: float) -> Iterator[None]:
    """Shield the body from cancellation for so long."""
    with anyio.CancelScope(shield=True) as scope:
        timer = asyncio.get_running_loop().call_later(seconds, setattr, scope, "shield", False)
        try:
            yield
        finally:
            timer.cancel()


class ClaimOnSend:
    """Store for transitions of callers whose chat this process claims with the same statement.

    Once such a statement is sent, its caller is not cancelled until the turn has its task, or for
    ``_SHIELD_SECONDS``: a database that does not respond must not hold up a stop. If the response is lost,
    the heartbeat finds the chat (``ChatTaskPool.claiming``).
    """

    def __init__(
        self, database: Database, *, claims: Claims, slots: SlotSource, histories: KnownHistories
    ) -> None:
        self._database = database
        self._claims = claims
        self._slots = slots
        self._histories = histories

    async def send(self, chat_id: UUID, **values: object) -> TransitionResult | None:
        """Send a message with these parameters, and start its turn. None: send it by ``send``."""
        sent = None
        with self._reserve(chat_id) as slot:
            if slot is not None and (row := await self._send(slot, chat_id, values)) is not None:
                before = self._histories.take(chat_id, row["version"] - 2)
                sent = await self._start(slot, row, Transition.SEND, before)
        return sent

    async def execute(
        self,
        statement: Callable[[Mapping[str, object], Committed | None], Awaitable[TransitionResult]],
        transition: Transition,
        *,
        chat_id: UUID | None,
        history: HistoryBefore,
    ) -> TransitionResult:
        """Run a statement that makes a chat pending (None: a new one), and claims it if a slot is free.

        ``statement`` gets the parameters of the claim, and a function that it calls with what it committed.
        """
        with self._reserve(chat_id) as slot:
            if slot is None:
                return await statement(NO_CLAIM, None)
            with tracing.claim_span() as span:

                async def committed(row: Row) -> TransitionResult | None:
                    if row["claim_created_at"] is None:
                        return None
                    tracing.end_claim(span, 1)
                    known = self._histories.take(row["id"], row["version"] - 2)
                    return await self._start(slot, row, transition, history(known))

                return await statement(self._claim(slot), committed)

    @contextmanager
    def _reserve(self, chat_id: UUID | None) -> Iterator[Slot | None]:
        """Reserve a slot for a chat, and shield the body if there is one."""
        with self._slots.reserve(chat_id) as slot:
            if slot is None or (chat_id is not None and self._claims.is_cut(chat_id)):
                yield None
            else:
                with _shielded(_SHIELD_SECONDS):
                    yield slot

    def _claim(self, slot: Slot) -> Mapping[str, object]:
        return {
            "worker_id": self._claims.worker_id,
            "models": slot.models,
            "advance": slot.advance,
            "claim_traceparent": tracing.current_traceparent(),
        }

    async def _send(
        self, slot: Slot, chat_id: UUID, values: Mapping[str, object]
    ) -> asyncpg.Record | None:
        """Return the row of the statement. None: nothing was committed."""
        with tracing.claim_span() as span:
            try:
                row = await self._database.fetchrow(
                    _Q["send_and_claim"],
                    chat_id=chat_id,
                    **values,
                    **self._claim(slot),
                )
            except Exception as error:
                # A key that is known, or data that only one of the two parts refuses.
                if is_caused_by_data(error):
                    return None
                raise
            tracing.end_claim(span, 0 if row is None else 1)
        return row

    async def _start(
        self, slot: Slot, row: Row, transition: Transition, before: ChatHistory | None
    ) -> TransitionResult:
        """Start the turn of a chat with this history before the transition. Return the latter's result."""
        result, claim = await self._claims.committed_with_claim(row, transition)
        history = before and before.with_messages(result.model_messages)
        slot.start(Claim(claim, None, 0.0, history))
        return result
