"""Claimer: claims pending chats while there are free slots.

A slot for a message costs some 8 us. The benchmarks ``turns`` and ``claims`` watch it.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.hint import RESYNC, Hint
from chatd.store.claims import Claim, ClaimBatch, Claims
from chatd.store.slots import NO_SLOT, Reservation, Slot
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry import tracing
from chatd.telemetry.metrics import NotificationMetrics
from chatd.telemetry.turn_metrics import TurnMetrics
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.clock import boottime
from chatd.worker.low_water_mark import LowWaterMark
from chatd.worker.waiting_chats import WaitingChats

_HINT_ARRIVAL_SECONDS = 0.25
"""A chat that was pending for longer should have been announced by a hint."""
_OLDEST_FIRST_EVERY: Final = 8
"""Of so many claims that leave chats in the line, one takes the oldest. It bounds every wait."""
_ADVANCE_SECONDS = 1.0
"""Time after which a claim that leaves no chat in the line advances its round too, once."""
_MAX_CLAIMS: Final = 50
"""Chats of one claim, which holds a lock on each of them: so many take some 25 ms."""
_CONTENTION_SECONDS = 0.05
"""Pause when other workers were claiming all the chats that this one read."""
_SUSPECT_RECOVERIES: Final = 2
"""Lost workers that make a chat suspect of ending its process. A process may end for many reasons, and then
all its chats are to run elsewhere at once. Those that were on the next one that ended are suspects."""


def suspect_recoveries(max_recoveries: int) -> int:
    """Return the number of lost workers from which a chat is claimed one at a time."""
    return min(_SUSPECT_RECOVERIES, max(max_recoveries, 1))


class Claimer:
    """Actor that claims after a hint of a pending chat, and every ``poll_seconds`` as the safety net.

    It also claims when the next deferred chat is due. A claim takes at most half of the free slots, so that
    several workers share what arrives at once. A worker that holds a suspect claims no other one.

    While there are slots enough for all, messages that reach this process need no claim of their own:
    ``reserve_slot``.
    """

    def __init__(
        self,
        claims: Claims,
        chat_tasks: ChatTaskPool,
        *,
        may_claim: Callable[[], bool],
        models: Callable[[], tuple[UUID, ...]],
        poll_seconds: float,
        max_recoveries: int,
        metrics: TurnMetrics | None = None,
        hint_metrics: NotificationMetrics | None = None,
    ) -> None:
        self._claims = claims
        self._chat_tasks = chat_tasks
        self._may_claim = may_claim
        self._models = models
        self._suspect_recoveries = suspect_recoveries(max_recoveries)
        self._metrics = metrics or TurnMetrics()
        self._missed_hints = (hint_metrics or NotificationMetrics()).missed
        self._waiting = WaitingChats()
        self._hinted_at: float | None = None
        self._low_water_mark = LowWaterMark()
        self._backlog_claims = 0
        """Claims that left chats in the line, since it was last drained."""
        self._advanced_at = 0.0
        self._loop = Periodic(
            self.step, interval_seconds=poll_seconds, expected_errors=(DatabaseUnavailable,)
        )

    def handle_hint(self, hint: Hint) -> None:
        """Claim soon if the hint announces a pending chat."""
        if hint is RESYNC:
            self.wake()
        elif hint.status is Status.PENDING:
            self._waiting.announce()
            self._loop.wake()
        else:
            return
        self._hinted_at = self._hinted_at or boottime()

    def wake(self) -> None:
        """Claim soon: there is a free slot again, or a reason to expect any number of pending chats."""
        self._waiting.forget()
        self._loop.wake()

    async def step(self) -> bool:
        """Claim half of the free slots, one at least and 50 at most. Return True if there may be more."""
        free_slots = self._chat_tasks.free_slots
        if free_slots <= 0 or not self._may_claim():
            self._waiting.forget()
            return False
        prompted = self._waiting.expected
        hinted_at, self._hinted_at = self._hinted_at, None
        with self._waiting.claiming(), self._chat_tasks.claiming():
            batch = await self._claim(min(max(free_slots // 2, 1), _MAX_CLAIMS), boottime())
            for claim in batch.claims:
                self._chat_tasks.start(claim)
        self._record_metrics(batch, prompted=prompted, hinted_at=hinted_at)
        if batch.next_due_in_seconds is not None:
            self._loop.wake_within(batch.next_due_in_seconds)
        if not batch.candidates_left:
            return False
        self._waiting.forget()
        if not batch.claims:
            self._loop.wake_within(_CONTENTION_SECONDS)
            return False
        return self._chat_tasks.free_slots > 0

    def reserve_slot(self, chat_id: UUID | None) -> Reservation:
        """Reserve a free slot for a chat (None: a new one) that the caller's statement claims.

        None unless there are more free slots than chats that may wait for one (``WaitingChats``), so that
        no message overtakes a chat that needs the slot. Suspects and chats that are held or deferred do not
        wait for a slot. A message may take the last free slot: it came to this process alone, while chats
        in the line are there for all workers.
        """
        enough_slots = self._chat_tasks.free_slots > self._waiting.at_most
        if not (enough_slots and self._may_claim() and self._chat_tasks.may_start(chat_id)):
            return NO_SLOT
        now = boottime()
        advance = now - self._advanced_at >= _ADVANCE_SECONDS

        def start(claim: Claim) -> None:
            self._chat_tasks.start(claim)
            self._metrics.claims.add()
            self._metrics.claims_on_send.add()
            self._metrics.claim_wait.observe(claim.pending_seconds)
            if advance:
                self._advanced_at = now

        slot = Slot(models=self._models(), advance=advance, start=start)
        return Reservation(slot, self._chat_tasks.claiming(slots=1, chat_id=chat_id))

    async def _claim(self, limit: int, now: float) -> ClaimBatch:
        oldest_first = self._backlog_claims % _OLDEST_FIRST_EVERY == _OLDEST_FIRST_EVERY - 1
        advance = now - self._advanced_at >= _ADVANCE_SECONDS
        with tracing.claim_span() as span:
            batch = await self._claims.claim(
                limit,
                models=self._models(),
                suspect_recoveries=self._suspect_recoveries,
                suspects=0 if self._holds_suspect() else 1,
                oldest_first=oldest_first,
                bounds=self._low_water_mark.bounds(now),
                advance=advance,
            )
            tracing.end_claim(span, len(batch.claims))
        self._low_water_mark.observe(batch, oldest_first=oldest_first, now=now)
        if advance:
            self._advanced_at = now
        self._backlog_claims = self._backlog_claims + 1 if batch.candidates_left else 0
        return batch

    def _holds_suspect(self) -> bool:
        return any(
            lease.chat.recoveries >= self._suspect_recoveries for lease in self._chat_tasks.leases
        )

    def _record_metrics(
        self, batch: ClaimBatch, *, prompted: bool, hinted_at: float | None
    ) -> None:
        metrics = self._metrics
        metrics.claims.add(amount=len(batch.claims))
        for claim in batch.claims:
            metrics.claim_wait.observe(claim.pending_seconds)
            metrics.phase_seconds.add("pending", amount=claim.pending_seconds)
            if claim.result.chat.was_reaped:
                metrics.takeovers.add()
            if not prompted and claim.pending_seconds > _HINT_ARRIVAL_SECONDS:
                self._missed_hints.add("pending")
        if batch.claims and hinted_at is not None:
            metrics.notification_to_claim.observe(boottime() - hinted_at)

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
