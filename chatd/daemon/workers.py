"""The actors of the shop floor, made from the settings and wired to each other."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from chatd.daemon.rooms import Rooms
from chatd.llm.catalog import Catalog
from chatd.settings import Settings, TurnSettings
from chatd.store.leases import Leases
from chatd.supervision.actor import ChildSpec
from chatd.supervision.outage import MAX_RETRY_DELAY_SECONDS
from chatd.supervision.periodic import Periodic
from chatd.work.acquirer import Claimer
from chatd.work.farewell import Deregistration
from chatd.work.flusher import Flusher
from chatd.work.heartbeat import Heartbeat
from chatd.work.janitor import Janitor
from chatd.work.limits import TurnLimits
from chatd.work.reaper import Reaper
from chatd.work.retry import RetryPolicy
from chatd.work.roster import ChatTaskPool
from chatd.work.turn import TurnServices

_WATCHDOG_SECONDS = 0.5
_RELEASE_SECONDS = 10.0
"""What releasing chats may take after their grace is over."""


class Workers:
    """``chat_tasks`` has the chats in hand; ``specs`` are the children, in the order of their start."""

    def __init__(
        self, settings: Settings, rooms: Rooms, catalog: Catalog, *, worker_id: UUID
    ) -> None:
        worker, stream, metrics = settings.worker, settings.stream, rooms.metrics
        self._grace_seconds = worker.shutdown_grace_seconds
        self._patience_seconds = (
            worker.stale_after_seconds
            + settings.database.connect_timeout_seconds
            + settings.database.statement_timeout_seconds
            + MAX_RETRY_DELAY_SECONDS
        )
        leases = Leases(rooms.database, worker_id=worker_id)
        self._flusher = Flusher(
            rooms.streams,
            rooms.hints,
            flush_interval_seconds=stream.flush_seconds,
            flush_bytes=stream.flush_bytes,
            metrics=metrics.streams,
        )
        self.roster = ChatTaskPool(
            _shop(settings.turn, rooms, catalog, self._flusher),
            max_chats=worker.max_chats,
            local_lease_seconds=worker.stale_after_seconds - worker.heartbeat_seconds,
            grace_seconds=worker.shutdown_grace_seconds,
        )
        self._heartbeat = Heartbeat(
            rooms.database,
            leases,
            self.roster,
            heartbeat_seconds=worker.heartbeat_seconds,
            max_chats=worker.max_chats,
            metrics=metrics.leases,
        )
        self._acquirer = Claimer(
            leases,
            self.roster,
            may_claim=lambda: self._heartbeat.holds_lock,
            poll_seconds=worker.poll_seconds,
            metrics=metrics.turns,
            hint_metrics=metrics.notifications,
        )
        self._reaper = Reaper(
            leases,
            rooms.turns,
            rooms.actions,
            rooms.hints,
            reap_interval_seconds=worker.reap_seconds,
            lease_seconds=worker.stale_after_seconds,
            max_recoveries=worker.max_recoveries,
            locks_reliable=lambda: self._heartbeat.locks_reliable,
            metrics=metrics.leases,
        )
        self._janitor = Janitor(
            rooms.streams,
            leases,
            rooms.keys,
            rooms.lists,
            event_retention_days=stream.event_retention_days,
            idempotency_retention_hours=settings.http.idempotency_hours,
            lease_seconds=worker.stale_after_seconds,
        )
        self._watchdog = Periodic(
            self.roster.drop_expired,
            interval_seconds=min(_WATCHDOG_SECONDS, worker.heartbeat_seconds / 4),
        )
        self._farewell = Deregistration(leases, rooms.turns, rooms.hints)
        self._wire(rooms)

    @property
    def sound(self) -> bool:
        """Whether the heartbeat gets somewhere, be it that it waits for a database that is away.

        Its patience is a lease, and the longest that one try to reach the database may take, with
        the pause before it.
        """
        return self._heartbeat.seconds_since_progress < self._patience_seconds

    def doubt_locks(self) -> None:
        """The database was away a moment ago: other workers may not have their locks again yet."""
        self._heartbeat.distrust_locks()

    def reload(self, settings: Settings, catalog: Catalog) -> None:
        """From now on: other models and limits for turns that begin, another size of the roster."""
        self.roster.services = replace(
            self.roster.services,
            catalog=catalog,
            limits=_limits(settings.turn),
            retry=_retry(settings.turn),
        )
        self.roster.max_chats = self._heartbeat.max_chats = settings.worker.max_chats
        self._heartbeat.wake()
        self._acquirer.wake()

    def _wire(self, rooms: Rooms) -> None:
        """Who wakes whom."""
        rooms.hints.subscribe(self._acquirer.handle_hint)
        rooms.hints.subscribe(self.roster.handle_hint)
        rooms.hints.claims_locally = lambda: (
            self._heartbeat.holds_lock and self.roster.free_slots > 0
        )
        self.roster.on_slot_free = self._acquirer.wake
        self.roster.on_suspect = self._heartbeat.wake

    def specs(self) -> Sequence[ChildSpec]:
        return [
            # Before the heartbeat, so that it ends after it: who was listed takes its row away.
            ChildSpec(name="farewell", start=self._farewell.run),
            ChildSpec(name="heartbeat", start=self._heartbeat.run),
            ChildSpec(name="watchdog", start=self._watchdog.run),
            ChildSpec(name="flusher", start=self._flusher.run),
            ChildSpec(
                name="chats",
                start=self.roster.run,
                depends_on=("heartbeat",),
                shutdown_seconds=self._grace_seconds + _RELEASE_SECONDS,
            ),
            ChildSpec(name="acquirer", start=self._acquirer.run, depends_on=("chats",)),
            ChildSpec(name="reaper", start=self._reaper.run),
            ChildSpec(name="janitor", start=self._janitor.run),
        ]


def _shop(turn: TurnSettings, rooms: Rooms, catalog: Catalog, flusher: Flusher) -> TurnServices:
    return TurnServices(
        turns=rooms.turns,
        change_bus=rooms.hints,
        hub=rooms.hub,
        flusher=flusher,
        catalog=catalog,
        limits=_limits(turn),
        retry=_retry(turn),
        metrics=rooms.metrics,
    )


def _limits(turn: TurnSettings) -> TurnLimits:
    return TurnLimits(
        stream_idle_timeout_seconds=turn.silence_seconds,
        model_call_timeout_seconds=turn.attempt_seconds,
        timeout_seconds=turn.turn_seconds,
        max_steps=turn.max_steps,
        client_tool_timeout_seconds=turn.action_seconds,
    )


def _retry(turn: TurnSettings) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=turn.max_attempts,
        backoff_seconds=turn.backoff_seconds,
        backoff_max_seconds=turn.backoff_max_seconds,
    )
