"""The actors of the worker, built from the settings and connected to each other."""

from dataclasses import dataclass
from typing import final

from chatd.daemon.runtime_config import RuntimeConfigHolder
from chatd.daemon.services import Services
from chatd.settings import Settings
from chatd.settings.keywords import keywords_for
from chatd.store.leases import Leases
from chatd.supervision.outage import MAX_RETRY_DELAY_SECONDS
from chatd.supervision.periodic import Periodic
from chatd.tools.mcp.servers import McpServers
from chatd.worker.activity import ActivityReporter
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.claimer import Claimer
from chatd.worker.deregistration import Deregistration
from chatd.worker.flusher import Flusher
from chatd.worker.heartbeat import Heartbeat
from chatd.worker.janitor import Janitor
from chatd.worker.pending_sweep import PendingSweep
from chatd.worker.reaper import Reaper
from chatd.worker.titler import Titler
from chatd.worker.turn_services import TurnServices
from chatd.worker.waker import Waker
from chatd.worker.worker_lease import WorkerLease

_WATCHDOG_INTERVAL_SECONDS = 0.5


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerActors:
    """The actors that claim chats and run their turns; ``chat_tasks`` holds the leased chats."""

    activity_reporter: ActivityReporter
    chat_tasks: ChatTaskPool
    claimer: Claimer
    deregistration: Deregistration
    flusher: Flusher
    heartbeat: Heartbeat
    janitor: Janitor
    pending_sweep: PendingSweep
    reaper: Reaper
    titler: Titler
    waker: Waker
    watchdog: Periodic
    mcp: McpServers
    max_heartbeat_silence_seconds: float

    @property
    def healthy(self) -> bool:
        """True if the heartbeat makes progress, which includes waiting for an unavailable database.

        It may be silent for one lease plus the longest single attempt to reach the database, with the
        pause before it.
        """
        return self.heartbeat.seconds_since_progress < self.max_heartbeat_silence_seconds


def build_worker(
    settings: Settings, services: Services, config: RuntimeConfigHolder
) -> WorkerActors:
    """Build the actors of a worker and connect their wake-ups."""
    worker, metrics = settings.worker, services.metrics
    leases = services.store.leases
    flusher = Flusher(
        services.store.stream_reads,
        metrics=metrics.streams,
        containment_metrics=metrics.containment,
        **keywords_for(Flusher, settings.stream),
    )
    worker_lease = WorkerLease(local_lease_seconds=worker.lease_seconds - worker.heartbeat_seconds)
    titler = Titler(
        services.store.titles,
        catalog=lambda: config.turn().catalog,
        metrics=metrics.turns,
    )
    chat_tasks = ChatTaskPool(
        _turn_services(services, flusher, titler),
        config=config.turn,
        max_chats=config.max_chats,
        worker_lease=worker_lease,
        grace_seconds=worker.shutdown_grace_seconds,
        abandon_after_seconds=worker.lease_seconds,
        metrics=metrics.leases,
    )
    heartbeat = _build_heartbeat(settings, services, config, worker_lease, chat_tasks)
    claimer = _build_claimer(settings, services, config, worker_lease, chat_tasks)
    waker = Waker(services.store.children)
    _connect_wakeups(services, config, chat_tasks, heartbeat, claimer, waker)
    services.store.slots.reserve = claimer.reserve_slot
    services.change_bus.claims_locally = lambda: worker_lease.held and chat_tasks.free_slots > 0
    return WorkerActors(
        activity_reporter=ActivityReporter(
            leases, chat_tasks, heartbeat_seconds=worker.heartbeat_seconds
        ),
        chat_tasks=chat_tasks,
        claimer=claimer,
        deregistration=Deregistration(leases, services.store.reaps, services.store.turns),
        flusher=flusher,
        heartbeat=heartbeat,
        janitor=_build_janitor(settings, services, config, leases),
        pending_sweep=PendingSweep(
            services.store.pending,
            metrics=metrics.turns,
            **keywords_for(PendingSweep, worker),
        ),
        reaper=_build_reaper(settings, services, worker_lease, chat_tasks, waker),
        titler=titler,
        waker=waker,
        watchdog=Periodic(
            chat_tasks.watch,
            interval_seconds=min(_WATCHDOG_INTERVAL_SECONDS, worker.heartbeat_seconds / 4),
        ),
        mcp=services.mcp,
        max_heartbeat_silence_seconds=worker.lease_seconds
        + settings.database.connect_timeout_seconds
        + settings.database.statement_timeout_seconds
        + MAX_RETRY_DELAY_SECONDS,
    )


def _turn_services(services: Services, flusher: Flusher, titler: Titler) -> TurnServices:
    return TurnServices(
        turns=services.store.turns,
        chats=services.store.chats,
        children=services.store.children,
        change_bus=services.change_bus,
        hub=services.hub,
        flusher=flusher,
        metrics=services.metrics,
        mcp=services.mcp,
        offer_title=titler.offer,
    )


def _build_heartbeat(
    settings: Settings,
    services: Services,
    config: RuntimeConfigHolder,
    worker_lease: WorkerLease,
    chat_tasks: ChatTaskPool,
) -> Heartbeat:
    metrics = services.metrics.leases
    heartbeat = Heartbeat(
        services.database,
        services.store.leases,
        chat_tasks,
        worker_lease=worker_lease,
        heartbeat_seconds=settings.worker.heartbeat_seconds,
        max_chats=config.max_chats,
        models=config.models,
        metrics=metrics,
    )
    metrics.lock_proved.callback = lambda: heartbeat.lock_proved
    return heartbeat


def _build_claimer(
    settings: Settings,
    services: Services,
    config: RuntimeConfigHolder,
    worker_lease: WorkerLease,
    chat_tasks: ChatTaskPool,
) -> Claimer:
    return Claimer(
        services.store.claims,
        chat_tasks,
        may_claim=lambda: worker_lease.held,
        models=config.models,
        metrics=services.metrics.turns,
        hint_metrics=services.metrics.notifications,
        **keywords_for(Claimer, settings.worker),
    )


def _build_reaper(
    settings: Settings,
    services: Services,
    worker_lease: WorkerLease,
    chat_tasks: ChatTaskPool,
    waker: Waker,
) -> Reaper:
    return Reaper(
        services.store.reaps,
        services.store.turns,
        services.store.tool_calls,
        sees_locks=lambda: worker_lease.held,
        unheld=chat_tasks.unheld,
        on_parked=waker.request_sweep,
        metrics=services.metrics.leases,
        **keywords_for(Reaper, settings.worker),
    )


def _build_janitor(
    settings: Settings, services: Services, config: RuntimeConfigHolder, leases: Leases
) -> Janitor:
    return Janitor(
        services.store.sweeps,
        leases,
        services.store.chats,
        output_retention_days=lambda: config.turn().tool_limits.keep_days,
        **keywords_for(Janitor, settings.stream, settings.http, settings.worker),
    )


def _connect_wakeups(
    services: Services,
    config: RuntimeConfigHolder,
    chat_tasks: ChatTaskPool,
    heartbeat: Heartbeat,
    claimer: Claimer,
    waker: Waker,
) -> None:
    """Have each actor woken by the events that give it something to do."""
    services.change_bus.subscribe(claimer.handle_hint)
    services.change_bus.subscribe(chat_tasks.handle_hint)
    services.change_bus.on_family_idle = waker.handle_family
    chat_tasks.on_slot_free = claimer.wake
    chat_tasks.on_lease_in_doubt = heartbeat.wake
    # A reload may change max_chats: the heartbeat publishes it, and the claimer fills new slots.
    config.on_replace(lambda _: heartbeat.wake())
    config.on_replace(lambda _: claimer.wake())
    config.on_replace(lambda _: services.mcp.retry_now())
