"""The actors of the shop floor, made from the settings and wired to each other."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from chatd.daemon.services import Services
from chatd.llm.catalog import Catalog
from chatd.settings import Settings, TurnSettings
from chatd.store.leases import Leases
from chatd.supervision.child import ChildSpec
from chatd.supervision.outage import MAX_RETRY_DELAY_SECONDS
from chatd.supervision.periodic import Periodic
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.claimer import Claimer
from chatd.worker.deregistration import Deregistration
from chatd.worker.flusher import Flusher
from chatd.worker.heartbeat import Heartbeat
from chatd.worker.janitor import Janitor
from chatd.worker.reaper import Reaper
from chatd.worker.retry import RetryPolicy
from chatd.worker.turn import TurnServices
from chatd.worker.turn_limits import TurnLimits

_WATCHDOG_INTERVAL_SECONDS = 0.5
_RELEASE_SECONDS = 10.0
"""What releasing chats may take after their grace is over."""


class WorkerActors:
    """``chat_tasks`` has the chats in hand; ``child_specs`` are the children, in the order of their start."""

    def __init__(
        self, settings: Settings, services: Services, catalog: Catalog, *, worker_id: UUID
    ) -> None:
        worker, stream, metrics = settings.worker, settings.stream, services.metrics
        self._grace_seconds = worker.shutdown_grace_seconds
        self._max_heartbeat_silence_seconds = (
            worker.lease_seconds
            + settings.database.connect_timeout_seconds
            + settings.database.statement_timeout_seconds
            + MAX_RETRY_DELAY_SECONDS
        )
        leases = Leases(services.database, worker_id=worker_id)
        self._flusher = Flusher(
            services.stream_reads,
            services.change_bus,
            flush_interval_seconds=stream.flush_interval_seconds,
            flush_bytes=stream.flush_bytes,
            metrics=metrics.streams,
        )
        self.chat_tasks = ChatTaskPool(
            _turn_services(settings.turn, services, catalog, self._flusher),
            max_chats=worker.max_chats,
            local_lease_seconds=worker.lease_seconds - worker.heartbeat_seconds,
            grace_seconds=worker.shutdown_grace_seconds,
        )
        self._heartbeat = Heartbeat(
            services.database,
            leases,
            self.chat_tasks,
            heartbeat_seconds=worker.heartbeat_seconds,
            max_chats=worker.max_chats,
            metrics=metrics.leases,
        )
        self._claimer = Claimer(
            leases,
            self.chat_tasks,
            may_claim=lambda: self._heartbeat.holds_lock,
            poll_seconds=worker.poll_seconds,
            metrics=metrics.turns,
            hint_metrics=metrics.notifications,
        )
        self._reaper = Reaper(
            leases,
            services.turns,
            services.tool_calls,
            services.change_bus,
            reap_interval_seconds=worker.reap_interval_seconds,
            lease_seconds=worker.lease_seconds,
            max_recoveries=worker.max_recoveries,
            locks_reliable=lambda: self._heartbeat.locks_reliable,
            metrics=metrics.leases,
        )
        self._janitor = Janitor(
            services.stream_reads,
            leases,
            services.idempotency,
            services.chat_lists,
            event_retention_days=stream.event_retention_days,
            idempotency_retention_hours=settings.http.idempotency_retention_hours,
            lease_seconds=worker.lease_seconds,
        )
        self._watchdog = Periodic(
            self.chat_tasks.drop_expired,
            interval_seconds=min(_WATCHDOG_INTERVAL_SECONDS, worker.heartbeat_seconds / 4),
        )
        self._deregistration = Deregistration(leases, services.turns, services.change_bus)
        self._connect_wakeups(services)

    @property
    def healthy(self) -> bool:
        """Whether the heartbeat gets somewhere, be it that it waits for a database that is away.

        Its patience is a lease, and the longest that one try to reach the database may take, with
        the pause before it.
        """
        return self._heartbeat.seconds_since_progress < self._max_heartbeat_silence_seconds

    def distrust_locks(self) -> None:
        """The database was away a moment ago: other workers may not have their locks again yet."""
        self._heartbeat.distrust_locks()

    def reload(self, settings: Settings, catalog: Catalog) -> None:
        """From now on: other models and limits for turns that begin, another size of the roster."""
        self.chat_tasks.services = replace(
            self.chat_tasks.services,
            catalog=catalog,
            limits=_turn_limits(settings.turn),
            retry=_retry_policy(settings.turn),
        )
        self.chat_tasks.max_chats = self._heartbeat.max_chats = settings.worker.max_chats
        self._heartbeat.wake()
        self._claimer.wake()

    def _connect_wakeups(self, services: Services) -> None:
        """Who wakes whom."""
        services.change_bus.subscribe(self._claimer.handle_hint)
        services.change_bus.subscribe(self.chat_tasks.handle_hint)
        services.change_bus.claims_locally = lambda: (
            self._heartbeat.holds_lock and self.chat_tasks.free_slots > 0
        )
        self.chat_tasks.on_slot_free = self._claimer.wake
        self.chat_tasks.on_suspect = self._heartbeat.wake

    def child_specs(self) -> Sequence[ChildSpec]:
        return [
            # Before the heartbeat, so that it ends after it: who was listed takes its row away.
            ChildSpec(name="deregistration", start=self._deregistration.run),
            ChildSpec(name="heartbeat", start=self._heartbeat.run),
            ChildSpec(name="watchdog", start=self._watchdog.run),
            ChildSpec(name="flusher", start=self._flusher.run),
            ChildSpec(
                name="chats",
                start=self.chat_tasks.run,
                depends_on=("heartbeat",),
                shutdown_seconds=self._grace_seconds + _RELEASE_SECONDS,
            ),
            ChildSpec(name="claimer", start=self._claimer.run, depends_on=("chats",)),
            ChildSpec(name="reaper", start=self._reaper.run),
            ChildSpec(name="janitor", start=self._janitor.run),
        ]


def _turn_services(
    turn: TurnSettings, services: Services, catalog: Catalog, flusher: Flusher
) -> TurnServices:
    return TurnServices(
        turns=services.turns,
        change_bus=services.change_bus,
        hub=services.hub,
        flusher=flusher,
        catalog=catalog,
        limits=_turn_limits(turn),
        retry=_retry_policy(turn),
        metrics=services.metrics,
    )


def _turn_limits(turn: TurnSettings) -> TurnLimits:
    return TurnLimits(
        stream_idle_timeout_seconds=turn.stream_idle_timeout_seconds,
        model_call_timeout_seconds=turn.model_call_timeout_seconds,
        timeout_seconds=turn.timeout_seconds,
        max_steps=turn.max_steps,
        client_tool_timeout_seconds=turn.client_tool_timeout_seconds,
    )


def _retry_policy(turn: TurnSettings) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=turn.max_attempts,
        backoff_seconds=turn.backoff_seconds,
        backoff_max_seconds=turn.backoff_max_seconds,
    )
