"""Claim on send: a message to an idle chat is stored and the chat claimed, by one statement.

A process that has a free slot answers at once: without a hint, a claim and a read. ``worker.claimer`` says
when it has one. A message for which this does not apply is sent by the ordinary statement.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import anyio
import asyncpg

from chatd.store import sql
from chatd.store.claims import Claims
from chatd.store.database import Database
from chatd.store.database_errors import is_caused_by_data
from chatd.store.records import TransitionResult
from chatd.store.slots import Slot, SlotSource
from chatd.telemetry import tracing

_Q = sql.load("claims")

_SHIELD_SECONDS = 1.0
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
    """Store for messages whose chat this process claims with the same statement."""

    def __init__(self, database: Database, *, claims: Claims, slots: SlotSource) -> None:
        self._database = database
        self._claims = claims
        self._slots = slots

    async def send(self, chat_id: UUID, **values: object) -> TransitionResult | None:
        """Send a message with these parameters, and start its turn. None: send it by ``send``.

        Once the statement is sent, the caller is not cancelled until the turn has its task, or for
        ``_SHIELD_SECONDS``: a database that does not respond must not hold up a stop. If the response is
        lost, the heartbeat finds the chat (``ChatTaskPool.claiming``).
        """
        sent = None
        with self._slots.reserve(chat_id) as slot, _shielded(_SHIELD_SECONDS):
            if slot is not None and not self._claims.is_cut(chat_id):
                row = await self._send(slot, chat_id=chat_id, **values)
                if row is not None:
                    sent, claim = await self._claims.claimed_on_send(row)
                    slot.start(claim)
        return sent

    async def _send(self, slot: Slot, **values: object) -> asyncpg.Record | None:
        """Return the row of the statement. None: nothing was committed."""
        with tracing.claim_span() as span:
            try:
                row = await self._database.fetchrow(
                    _Q["send_and_claim"],
                    **values,
                    worker_id=self._claims.worker_id,
                    models=slot.models,
                    advance=slot.advance,
                    claim_traceparent=tracing.current_traceparent(),
                )
            except Exception as error:
                # A key that is known, or data that only one of the two parts refuses.
                if is_caused_by_data(error):
                    return None
                raise
            tracing.end_claim(span, 0 if row is None else 1)
        return row
