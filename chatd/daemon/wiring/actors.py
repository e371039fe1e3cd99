"""All actors of a process, built from the settings and the shared parts."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from starlette.types import ASGIApp

from chatd.api.http_protocol import ConnectionLimits
from chatd.api.middleware.admission import Admission
from chatd.api.server import Server
from chatd.daemon.database_probe import DatabaseProbe
from chatd.daemon.history_sampler import HistorySampler
from chatd.daemon.process import Process
from chatd.daemon.runtime_config import RuntimeConfigHolder
from chatd.daemon.services import Services
from chatd.daemon.startup import DatabasePreparation, preload_providers
from chatd.daemon.stats_collector import StatsCollector
from chatd.daemon.systemd import SystemdSocket
from chatd.daemon.wiring.api import build_api
from chatd.daemon.wiring.auth import AuthActor, build_auth
from chatd.daemon.wiring.console import with_console
from chatd.daemon.wiring.operations import build_operations, build_stats_collector
from chatd.daemon.wiring.worker import WorkerActors, build_worker
from chatd.settings import Settings
from chatd.store.notifications.listener import Listener
from chatd.store.notifications.notifier import Notifier
from chatd.streaming.chat_poller import ChatStreamPoller
from chatd.streaming.list_poller import ChatListPoller
from chatd.supervision.child import StartFunction
from chatd.telemetry.history import MetricsHistory
from chatd.worker.search_indexer import SearchIndexer


@dataclass(frozen=True, slots=True, kw_only=True)
class Actors:
    """The actors of one process. ``supervision_tree`` says in which order they run.

    ``worker`` is None in a process that only serves, ``search_indexer`` if messages are not indexed.
    """

    database: DatabasePreparation
    listener: Listener
    notifier: Notifier
    worker: WorkerActors | None
    chat_poller: ChatStreamPoller
    list_poller: ChatListPoller
    auth: AuthActor
    database_probe: DatabaseProbe
    server: Server
    stats_collector: StatsCollector
    history_sampler: HistorySampler
    search_indexer: SearchIndexer | None
    preload_providers: StartFunction


def build_actors(
    settings: Settings, services: Services, config: RuntimeConfigHolder, process: Process
) -> Actors:
    """Build the actors and connect them to each other. None of them runs yet."""
    worker = build_worker(settings, services, config) if settings.worker.enabled else None
    auth = build_auth(settings.auth, services.database)
    stats_collector = build_stats_collector(settings, services)
    history = MetricsHistory(services.metrics, now=lambda: datetime.now(UTC))
    database_probe = DatabaseProbe(services.store.reads.ping)
    admission = Admission()
    app = build_api(
        settings,
        services,
        config,
        authenticator=auth.authenticator,
        operations=build_operations(
            settings,
            services,
            process,
            chat_tasks=worker and worker.chat_tasks,
            stats_collector=stats_collector,
            history=history,
        ),
        not_ready=process.state.not_ready_reason,
        database_reachable=lambda: database_probe.reachable,
        admission=admission,
    )
    poll_seconds, notifications = settings.worker.poll_seconds, services.metrics.notifications
    return Actors(
        database=DatabasePreparation(settings.database, services, lambda: config.current.catalog),
        listener=Listener(
            services.database,
            sender=str(process.worker_id),
            on_hint=services.change_bus.receive,
            on_reconnect=services.change_bus.resync,
            metrics=notifications,
        ),
        notifier=services.notifier,
        worker=worker,
        chat_poller=ChatStreamPoller(
            services.hub,
            services.store.stream_reads,
            poll_seconds=poll_seconds,
            metrics=notifications,
            containment_metrics=services.metrics.containment,
        ),
        list_poller=ChatListPoller(
            services.list_hub,
            services.store.chat_lists,
            poll_seconds=poll_seconds,
            containment_metrics=services.metrics.containment,
        ),
        auth=auth,
        database_probe=database_probe,
        server=_build_server(
            settings, services, with_console(app, settings), admission, process.systemd
        ),
        stats_collector=stats_collector,
        history_sampler=HistorySampler(history),
        search_indexer=_build_search_indexer(services),
        preload_providers=partial(preload_providers, config.current.catalog),
    )


def _build_search_indexer(services: Services) -> SearchIndexer | None:
    changed, metrics = services.changed_chats, services.metrics.search
    if changed is None:
        return None
    metrics.waiting_chats.callback = lambda: len(changed)
    metrics.lag.callback = lambda: changed.oldest_seconds
    return SearchIndexer(
        services.store.message_search, services.store.sweeps, changed, metrics=metrics
    )


def _build_server(
    settings: Settings,
    services: Services,
    app: ASGIApp,
    admission: Admission,
    systemd: SystemdSocket,
) -> Server:
    return Server(
        app,
        services.hub,
        admission,
        host=settings.http.host,
        port=settings.http.port,
        inherited_socket=partial(systemd.listener, loopback_only=settings.auth.mode == "none"),
        keepalive_timeout_seconds=settings.http.keepalive_timeout_seconds,
        drain_seconds=settings.http.drain_seconds,
        behind_tls_proxy=settings.http.behind_tls_proxy,
        metrics=services.metrics.http,
        limits=ConnectionLimits(
            max_connections=settings.http.max_connections,
            max_head_bytes=settings.http.max_head_bytes,
            head_timeout_seconds=settings.http.head_timeout_seconds,
            body_timeout_seconds=settings.http.body_timeout_seconds,
        ),
    )
