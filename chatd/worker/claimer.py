"""Claimer: claims pending chats while there are free slots."""

from collections.abc import Callable, Sequence

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.hint import RESYNC, Hint
from chatd.store.leases import Claim, Leases
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry import tracing
from chatd.telemetry.metrics import NotificationMetrics, TurnMetrics
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.clock import boottime

_HINT_ARRIVAL_SECONDS = 0.25
"""A chat that was pending for longer should have been announced by a hint."""


class Claimer:
    """Actor that claims after a hint of a pending chat, and every ``poll_seconds`` as the safety net."""

    def __init__(
        self,
        leases: Leases,
        chat_tasks: ChatTaskPool,
        *,
        may_claim: Callable[[], bool],
        poll_seconds: float,
        metrics: TurnMetrics | None = None,
        hint_metrics: NotificationMetrics | None = None,
    ) -> None:
        self._leases = leases
        self._chat_tasks = chat_tasks
        self._may_claim = may_claim
        self._metrics = metrics or TurnMetrics()
        self._missed_hints = (hint_metrics or NotificationMetrics()).missed
        self._prompted = True
        """Set if there is a reason to expect pending chats, other than that a poll is due."""
        self._hinted_at: float | None = None
        self._loop = Periodic(
            self.step, interval_seconds=poll_seconds, expected_errors=(DatabaseUnavailable,)
        )

    def handle_hint(self, hint: Hint) -> None:
        """Claim soon if the hint announces a pending chat."""
        if hint.status is Status.PENDING or hint is RESYNC:
            self._hinted_at = self._hinted_at or boottime()
            self.wake()

    def wake(self) -> None:
        """Claim soon: there is a free slot or a pending chat."""
        self._prompted = True
        self._loop.wake()

    async def step(self) -> bool:
        """Claim as many chats as there are free slots. Return True if there may be more."""
        free_slots = self._chat_tasks.free_slots
        if free_slots <= 0 or not self._may_claim():
            self._prompted = True
            return False
        sent_at = boottime()
        prompted, self._prompted = self._prompted, False
        hinted_at, self._hinted_at = self._hinted_at, None
        with tracing.claim_span() as span:
            claims = await self._leases.claim(free_slots)
            tracing.end_claim(span, len(claims))
        for claim in claims:
            self._chat_tasks.start(claim, renewed_at=sent_at)
        self._record_metrics(claims, prompted=prompted, hinted_at=hinted_at)
        if len(claims) < free_slots:
            return False
        self._prompted = True
        return self._chat_tasks.free_slots > 0

    def _record_metrics(
        self, claims: Sequence[Claim], *, prompted: bool, hinted_at: float | None
    ) -> None:
        metrics = self._metrics
        metrics.claims.add(amount=len(claims))
        for claim in claims:
            metrics.claim_wait.observe(claim.pending_seconds)
            metrics.phase_seconds.add("pending", amount=claim.pending_seconds)
            if claim.result.chat.recoveries:
                metrics.takeovers.add()
            if not prompted and claim.pending_seconds > _HINT_ARRIVAL_SECONDS:
                self._missed_hints.add("pending")
        if claims and hinted_at is not None:
            metrics.notification_to_claim.observe(boottime() - hinted_at)

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
