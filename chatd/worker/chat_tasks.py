"""Task pool: one task per leased chat.

Starting a task costs some 20 us, and a leased chat 40 kB. The benchmarks ``turns`` and ``memory`` watch it.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from typing import Any
from uuid import UUID

import anyio
import structlog

from chatd.domain.chat import LEASED, Status
from chatd.domain.hint import Hint
from chatd.domain.outcomes import ReapReason
from chatd.store.claims import Claim
from chatd.store.leases import Renewal
from chatd.supervision.child import ChildHandle
from chatd.telemetry.metrics import LeaseMetrics
from chatd.worker.clock import boottime
from chatd.worker.config import TurnConfig
from chatd.worker.lease import Cause, Lease
from chatd.worker.runner import Runner
from chatd.worker.turn_services import TurnServices
from chatd.worker.unheld_chats import ClaimStatement, UnheldChats
from chatd.worker.worker_lease import WorkerLease

_log = structlog.get_logger()

_LONGEST_LOOK_SECONDS = 2.0
"""Most that the time between two looks of the watchdog counts. If it was longer, the process was stopped or
its loop blocked, and no task could end."""


class ChatTaskPool:
    """Actor that runs a task for each of at most ``max_chats`` leased chats.

    ``config`` and ``max_chats`` are called anew for each chat, so that a reload applies.

    When it stops, it lets the tasks finish their turns for ``grace_seconds`` (or until ``stop_now``) and
    then has the remaining chats released.

    A task that has not ended ``abandon_after_seconds`` after it was cancelled, or after its stage was over,
    is given up: its chat goes to another worker, and its slot to another chat. The time must be enough for
    storing the result of an interrupt, which may take the rest of a lease.
    """

    def __init__(
        self,
        services: TurnServices,
        *,
        config: Callable[[], TurnConfig],
        max_chats: Callable[[], int],
        worker_lease: WorkerLease,
        grace_seconds: float,
        abandon_after_seconds: float,
        metrics: LeaseMetrics | None = None,
    ) -> None:
        self._services = services
        self._config = config
        self._max_chats = max_chats
        self._worker_lease = worker_lease
        self._grace_seconds = grace_seconds
        self._abandon_after_seconds = abandon_after_seconds
        self._metrics = metrics or LeaseMetrics()
        self._leases: dict[UUID, Lease] = {}
        self._group: anyio.abc.TaskGroup | None = None
        self._tool_group: anyio.abc.TaskGroup | None = None
        """The same group, also while the tasks in it stop."""
        self._context = Context()
        """Context of the tasks, so that none has that of the request whose message it answers."""
        self._watched_at = boottime()
        self._reserved_slots = 0
        self._awaited: set[UUID] = set()
        """Chats for which a slot is reserved."""
        self._empty = anyio.Event()
        self._stop_now = anyio.Event()
        self._draining = False
        self._claims_paused = False
        self.unheld = UnheldChats()
        self.on_slot_free: Callable[[], None] = lambda: None
        """Called when a full pool has a free slot again."""
        self.on_lease_in_doubt: Callable[[], None] = lambda: None
        """Called when a leased chat may have another worker, or a chat of this worker no task."""

    @property
    def free_slots(self) -> int:
        """Number of chats that can be claimed now."""
        if self._group is None or self._draining or self._claims_paused:
            return 0
        return self._max_chats() - len(self._leases) - self._reserved_slots

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases that are held now."""
        return tuple(self._leases.values())

    def may_start(self, chat_id: UUID | None) -> bool:
        """Return whether a slot is free for a chat, which neither has a task yet nor a slot reserved."""
        return self.free_slots > 0 and not (chat_id in self._leases or chat_id in self._awaited)

    def claiming(
        self, *, slots: int = 0, chat_id: UUID | None = None
    ) -> AbstractContextManager[object]:
        """Note a statement that may claim chats, to the end of the context, by which their tasks started.

        ``slots`` are reserved from now on. ``chat_id`` is the chat that they are for, if it is known. A
        statement that waits for the chat holds one slot at most, however many others wait for it.

        If its response is lost, heartbeats look at once for chats that name this worker without a task.
        """
        self._reserved_slots += slots
        if chat_id is not None:
            self._awaited.add(chat_id)
        claim = self.unheld.claim_sent(chat_id=chat_id)
        return _ClaimingStatement(self, claim, slots, chat_id)

    def end_claiming(
        self, claim: ClaimStatement, slots: int, chat_id: UUID | None, *, failed: bool
    ) -> None:
        """Note the end of a statement that may have claimed chats."""
        if failed:
            self.on_lease_in_doubt()
        was_full = self.free_slots <= 0
        self._reserved_slots -= slots
        if chat_id is not None:
            self._awaited.discard(chat_id)
        if was_full and self.free_slots > 0:
            self.on_slot_free()
        if self.unheld.claim_ended(claim, now=boottime()):
            self.on_lease_in_doubt()

    # -- tasks --------------------------------------------------------------------------------

    def start(self, claim: Claim) -> None:
        """Start a task for a chat that was claimed."""
        lease = Lease(claim.result.chat, worker_lease=self._worker_lease)
        if self._group is None:  # this actor has stopped since the slot was free
            self.unheld.add(lease.key, ReapReason.NO_TASK, now=boottime())
            return
        fenced = self._leases.get(lease.chat.id)
        if fenced is not None:  # an edit fenced the task of this process, which then claimed again
            fenced.cancel(Cause.LOST)
        self._leases[lease.chat.id] = lease
        self._context.run(self._group.start_soon, self._run_chat, lease, claim)

    async def _run_chat(self, lease: Lease, claim: Claim) -> None:
        structlog.contextvars.bind_contextvars(
            **lease.log_context()
        )  # on every line that this task logs
        unstored = ReapReason.NO_TASK
        try:
            runner = Runner(
                self._services,
                lease,
                history=claim.history,
                config=self._config,
                start_task=self._start_task,
                draining=lambda: self._draining or self._claims_paused,
            )
            await runner.run(turn_seconds_left=claim.turn_seconds_left)
        except Exception as error:  # noqa: BLE001 - it could not be stored
            _log.error("chat.store_failed", exc_info=error)
            unstored = ReapReason.ABANDONED  # so that a chat that always ends like this fails
        finally:
            self._remove(lease, unstored)

    def _start_task(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task for a chat, which runs as one of this pool. It has the caller's context."""
        assert self._tool_group is not None  # noqa: S101 - the caller is a task of the group
        self._tool_group.start_soon(function)

    def _remove(self, lease: Lease, reason: ReapReason) -> None:
        """Free the slot of ``lease``. If the database still has it leased, it is given back."""
        was_full = self.free_slots == 0
        if lease.chat.status in LEASED:
            self.unheld.add(lease.key, reason, now=boottime())
        if self._leases.get(lease.chat.id) is lease:
            del self._leases[lease.chat.id]
        if not self._leases:
            self._empty.set()
        if was_full:
            self.on_slot_free()

    # -- hints and renewals ----------------------------------------------------------------------

    def handle_hint(self, hint: Hint) -> None:
        """Call ``on_lease_in_doubt`` if a leased chat seems to be lost. The next heartbeat checks it."""
        lease = self._leases.get(hint.chat_id)
        if lease is None or hint.status is None or hint.version <= lease.expected_version:
            return
        if hint.status is not Status.RUNNING:
            self.on_lease_in_doubt()

    def apply_renewals(
        self, leases: Iterable[Lease], renewals: Sequence[Renewal], *, sent_at: float
    ) -> None:
        """Renew, interrupt or drop each of ``leases``, by what a heartbeat sent at ``sent_at`` found."""
        renewed = {(renewal.chat_id, renewal.epoch): renewal for renewal in renewals}
        for lease in leases:
            renewal = renewed.get((lease.fence.chat_id, lease.fence.epoch))
            if renewal is not None:
                lease.renewed_at = sent_at
                # A result read before the task's own transition describes the previous turn: ignore it.
                if renewal.status is Status.INTERRUPTING and renewal.version > lease.chat.version:
                    lease.cancel(Cause.INTERRUPTED)
            elif lease.chat.status in LEASED and not lease.transition_in_flight:
                lease.cancel(Cause.LOST)
        held = {lease.key for lease in self.leases}
        if self.unheld.observe(renewals, held=held, sent_at=sent_at):
            self.on_lease_in_doubt()

    async def watch(self) -> None:
        """Cancel the tasks whose lease has expired, and give up those that do not end.

        The watchdog calls this, even if other actors hang.
        """
        now = boottime()
        elapsed = min(now - self._watched_at, _LONGEST_LOOK_SECONDS)
        self._watched_at = now
        for lease in self.leases:
            if lease.remaining_seconds <= 0:
                lease.cancel(Cause.LOST)
            if not lease.is_overdue:
                lease.overdue_seconds = None
            elif lease.overdue_seconds is None:
                lease.overdue_seconds = 0.0
            else:
                lease.overdue_seconds += elapsed
                if lease.overdue_seconds > self._abandon_after_seconds:
                    self._abandon(lease)

    def _abandon(self, lease: Lease) -> None:
        """Give up a task that does not end. Its lease is lost to it, whatever it still does."""
        stage = lease.progress.snapshot().stage
        with structlog.contextvars.bound_contextvars(**lease.log_context()):
            _log.error("chat.abandoned", stage=stage, cause=lease.cause)
        self._metrics.abandoned_tasks.add()
        lease.cancel(Cause.LOST)
        self._remove(lease, ReapReason.ABANDONED)
        self.on_lease_in_doubt()

    def pause_claims(self, *, paused: bool) -> None:
        """Report no free slots while ``paused``. The tasks go on."""
        resumed = self._claims_paused and not paused
        self._claims_paused = paused
        if resumed and self.free_slots > 0:
            self.on_slot_free()

    # -- start and stop --------------------------------------------------------------------------

    async def run(self, child: ChildHandle) -> None:
        """Run the tasks until the stop, and then drain them."""
        async with anyio.create_task_group() as group:
            self._group = self._tool_group = group
            self._context = copy_context()
            try:
                child.ready()
                await child.stopping.wait()
                await self._drain()
            finally:
                self._group = None

    async def _drain(self) -> None:
        self._draining = True
        if self._leases and self._grace_seconds > 0:
            self._empty = anyio.Event()
            with anyio.move_on_after(self._grace_seconds):
                async with anyio.create_task_group() as group:
                    for event in (self._empty, self._stop_now):
                        group.start_soon(_cancel_when_set, event, group.cancel_scope)
        for lease in self.leases:
            lease.cancel(Cause.SHUTDOWN)

    def stop_claiming(self) -> None:
        """Report no free slots from now on."""
        self._draining = True

    def stop_now(self) -> None:
        """End the grace period of running turns."""
        self._stop_now.set()


class _ClaimingStatement(AbstractContextManager[object]):
    """A statement that may claim chats."""

    __slots__ = ("_chat_id", "_claim", "_pool", "_slots")

    def __init__(
        self, pool: ChatTaskPool, claim: ClaimStatement, slots: int, chat_id: UUID | None
    ) -> None:
        self._pool = pool
        self._claim = claim
        self._slots = slots
        self._chat_id = chat_id

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.end_claiming(self._claim, self._slots, self._chat_id, failed=kind is not None)


async def _cancel_when_set(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
