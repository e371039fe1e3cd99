"""The roster: the chats in hand, each worked by a task of its own."""

from collections.abc import Callable, Iterable
from uuid import UUID

import anyio
import structlog

from chatd.domain.chat import LEASED, Status
from chatd.domain.hint import Hint
from chatd.store.leases import Claim, Renewal
from chatd.supervision.child import ChildHandle
from chatd.worker.lease import Cause, Lease
from chatd.worker.runner import Runner
from chatd.worker.turn import TurnServices

_log = structlog.get_logger()


class ChatTaskPool:
    """At most ``max_chats`` chats at once.

    Asked to stop, it lets them finish their turns for ``grace_seconds`` (or until ``stop_now``) and has
    the rest given back.
    """

    def __init__(
        self,
        services: TurnServices,
        *,
        max_chats: int,
        local_lease_seconds: float,
        grace_seconds: float,
    ) -> None:
        self.services = services
        """What turns work with that begin from now on; it may be replaced."""
        self.max_chats = max_chats
        self._local_lease_seconds = local_lease_seconds
        self._grace_seconds = grace_seconds
        self._leases: dict[UUID, Lease] = {}
        self._group: anyio.abc.TaskGroup | None = None
        self._empty = anyio.Event()
        self._stop_now = anyio.Event()
        self._draining = False
        self.on_slot_free: Callable[[], None] = lambda: None
        """Called when a full roster has room again."""
        self.on_suspect: Callable[[], None] = lambda: None
        """Called when a hint says that a chat in hand may not be ours any more."""

    @property
    def free_slots(self) -> int:
        """How many more chats can be taken in hand."""
        if self._group is None or self._draining:
            return 0
        return self.max_chats - len(self._leases)

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The chats in hand, as they are now."""
        return tuple(self._leases.values())

    # -- work ---------------------------------------------------------------------------------

    def start(self, claim: Claim, *, renewed_at: float) -> None:
        """Start a task for a chat that was just claimed, by a statement sent at ``renewed_at``."""
        assert self._group is not None  # noqa: S101 - there is no room without a group
        hand = Lease(
            claim.result.chat, renewed_at=renewed_at, local_lease_seconds=self._local_lease_seconds
        )
        fenced = self._leases.get(hand.chat.id)
        if fenced is not None:  # an edit took the chat out of our own hands, and it came back
            fenced.cancel(Cause.LOST)
        self._leases[hand.chat.id] = hand
        self.services.change_bus.publish(claim.result.entry)
        self._group.start_soon(self._run_chat, hand, claim.next_attempt_in_seconds)

    async def _run_chat(self, lease: Lease, wait_seconds: float) -> None:
        structlog.contextvars.bind_contextvars(**lease.log_context())  # for all that this task logs
        try:
            runner = Runner(lambda: self.services, lease, draining=lambda: self._draining)
            await runner.run(wait_seconds=wait_seconds)
        except Exception as error:  # noqa: BLE001 - beyond this chat's own means: its lease runs out
            _log.error("chat.store_failed", exc_info=error)
        finally:
            was_full = self.free_slots == 0
            if self._leases.get(lease.chat.id) is lease:
                del self._leases[lease.chat.id]
            if not self._leases:
                self._empty.set()
            if was_full:
                self.on_slot_free()

    # -- what others have to say about chats in hand --------------------------------------------

    def handle_hint(self, hint: Hint) -> None:
        """A chat moved, somewhere. A hint proves nothing: the next beat says what is so."""
        hand = self._leases.get(hint.chat_id)
        if hand is None or hint.status is None or hint.version <= hand.chat.version:
            return
        if hint.status is not Status.RUNNING:
            self.on_suspect()

    def apply_renewals(
        self, leases: Iterable[Lease], renewals: Iterable[Renewal], *, sent_at: float
    ) -> None:
        """The heartbeat asked for these chats, and these answered."""
        answered = {(beat.chat_id, beat.epoch): beat for beat in renewals}
        for hand in leases:
            beat = answered.get((hand.fence.chat_id, hand.fence.epoch))
            if beat is not None:
                hand.renewed_at = sent_at
                # An answer that crossed a move of the owner speaks of the turn before.
                if beat.status is Status.INTERRUPTING and beat.version > hand.chat.version:
                    hand.cancel(Cause.INTERRUPTED)
            elif hand.chat.status in LEASED and not hand.transition_in_flight:
                hand.cancel(Cause.LOST)

    async def drop_expired(self) -> None:
        """Drop what could not be renewed in time. The watchdog asks for this, whatever hangs."""
        for hand in self.leases:
            if hand.remaining_seconds <= 0:
                hand.cancel(Cause.LOST)

    # -- life -----------------------------------------------------------------------------------

    async def run(self, child: ChildHandle) -> None:
        async with anyio.create_task_group() as group:
            self._group, self._draining = group, False
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
                async with anyio.create_task_group() as either:
                    for event in (self._empty, self._stop_now):
                        either.start_soon(_cancel_when_set, event, either.cancel_scope)
        for hand in self.leases:
            hand.cancel(Cause.SHUTDOWN)

    def stop_claiming(self) -> None:
        """No new chats from now on."""
        self._draining = True

    def stop_now(self) -> None:
        """Do not wait for the turns that are running."""
        self._stop_now.set()


async def _cancel_when_set(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
