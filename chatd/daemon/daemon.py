"""One process: its tree of actors, its signals, its start and its end."""

import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import anyio
import structlog
from anyio.abc import TaskStatus
from fastapi import FastAPI

from chatd import __version__, logs
from chatd.api.app import create_app
from chatd.api.auth.stream_sessions import StreamSessions
from chatd.api.server import Server
from chatd.daemon.loop_monitor import LoopMonitor
from chatd.daemon.reload import Reloader
from chatd.daemon.services import build_services, catalog_from_settings, with_reloaded_limits
from chatd.daemon.startup import prepare_database, upsert_models
from chatd.daemon.systemd import SystemdSocket
from chatd.daemon.systemd_notifier import SystemdNotifier
from chatd.daemon.wiring.api import build_api_context
from chatd.daemon.wiring.auth import build_auth
from chatd.daemon.wiring.operations import OperationsComponents
from chatd.daemon.wiring.worker import WorkerActors
from chatd.llm.catalog import Catalog
from chatd.settings import Settings
from chatd.settings.secrets import secret_values
from chatd.store.notifications.listener import Listener
from chatd.streaming.chat_poller import ChatStreamPoller
from chatd.streaming.list_poller import ChatListPoller
from chatd.supervision.child import ChildHandle, ChildSpec, Restart, StopRequest
from chatd.supervision.supervisor import Supervisor
from chatd.worker.chat_tasks import ChatTaskPool

_log = structlog.get_logger()

_CLOSE_TIMEOUT_SECONDS = 10.0
"""What closing connections may take."""
_HTTP_SHUTDOWN_SECONDS = 8.0
"""What ending streams and answering the last requests may take."""
_MAX_SHUTDOWN_OVERHEAD_SECONDS = 60.0
"""What all of it may take besides the settings' own allowances, before a stop counts as stuck."""


class Daemon:
    """One process of chatd.

    ``catalog`` replaces the configured models, ``handle_signals`` says whether it listens to the process's
    signals; tests and the bench run several daemons in one process. ``reload_settings`` reads the settings
    anew when SIGHUP asks for it; ``systemd`` is who started this process, if it wants to be told.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        catalog: Catalog | None = None,
        handle_signals: bool = True,
        reload_settings: Callable[[], Settings] | None = None,
        systemd: SystemdSocket | None = None,
    ) -> None:
        self.settings = settings
        self._systemd = systemd or SystemdSocket()
        self.worker_id: UUID = uuid4()
        self.catalog = catalog or catalog_from_settings(settings)
        self.services = build_services(settings, worker_id=self.worker_id)
        self._worker_actors = (
            WorkerActors(settings, self.services, self.catalog, worker_id=self.worker_id)
            if settings.worker.enabled
            else None
        )
        self._auth = build_auth(settings, self.services.database)
        self._stream_sessions = StreamSessions(max_per_owner=settings.limits.max_streams)
        self._loop_monitor = LoopMonitor(
            blocked_seconds=settings.log.loop_blocked_seconds,
            metrics=self.services.metrics.process,
        )
        self._operations = OperationsComponents(
            settings,
            self.services,
            worker_id=self.worker_id,
            chat_tasks=self.chat_tasks,
            loop_monitor=self._loop_monitor,
            actors=lambda: self.supervisor.snapshot(),  # noqa: PLW0108 - it is made last
            phase=self._phase,
        )
        self._app = self._build_app()
        self.server = Server(
            self._app,
            self.services.hub,
            host=settings.http.host,
            port=settings.http.port,
            inherited_socket=lambda: self._systemd.listener(
                loopback_only=settings.auth.mode == "none"
            ),
            keepalive_timeout_seconds=settings.http.keepalive_timeout_seconds,
            drain_seconds=settings.http.drain_seconds,
        )
        self._signals_enabled = handle_signals
        self._stop_requested = StopRequest()
        self.supervisor = Supervisor(self._supervision_tree(), name="chatd")
        self._systemd_notifier = SystemdNotifier(
            self._systemd,
            status=self._status_text,
            healthy=lambda: self._worker_actors is None or self._worker_actors.healthy,
            max_stop_seconds=settings.http.drain_seconds
            + settings.worker.shutdown_grace_seconds
            + _MAX_SHUTDOWN_OVERHEAD_SECONDS,
        )
        self._reloader = reload_settings and Reloader(
            settings,
            self.catalog,
            reload_settings=reload_settings,
            upsert_models=lambda catalog: upsert_models(self.services, catalog),
            apply=self._apply_reload,
            systemd=self._systemd,
            systemd_notifier=self._systemd_notifier,
        )

    @property
    def port(self) -> int:
        """Where it listens, once it is ready."""
        return self.server.port

    @property
    def chat_tasks(self) -> ChatTaskPool | None:
        """The chats in hand; None when this process only serves."""
        return self._worker_actors.chat_tasks if self._worker_actors else None

    # -- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start everything, wait for the end, and stop everything in order.

        Raises ``SchemaMismatch``, ``DatabaseAccessDenied``, ``Fatal``, ``RestartBudgetExceeded``.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            if self._signals_enabled:
                await group.start(self._handle_signals)
            for companion in (
                self._loop_monitor.run,
                self._systemd_notifier.run,
                self._report_ready,
            ):
                group.start_soon(companion)
            _log.info("daemon.starting", version=__version__, worker_id=str(self.worker_id))
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - raised below: the group would wrap it up
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        _log.info("daemon.stopped")

    async def _run(self) -> None:
        async with self._open():
            at_once = await prepare_database(
                self.settings, self.services, self.catalog, stop=self._stop_requested
            )
            if not at_once and self._worker_actors is not None:
                self._worker_actors.distrust_locks()
            if not self._stop_requested.is_set():
                await self.supervisor.run()

    def stop(self) -> None:
        """Stop in order; asked again, without waiting for the turns that are running."""
        again = self._stop_requested.is_set()
        self._stop_requested.set()
        self._systemd_notifier.stopping()
        if again:
            self.server.end_drain()
        if self.chat_tasks is not None:
            self.chat_tasks.stop_claiming()
            if again:
                self.chat_tasks.stop_now()
        self.supervisor.stop()

    async def _handle_signals(self, *, task_status: TaskStatus[None]) -> None:
        heeded = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if self._reloader else [])]
        with anyio.open_signal_receiver(*heeded) as received:
            task_status.started()
            async for number in received:
                if number is signal.SIGHUP and self._reloader is not None:
                    self._reloader.request()
                    continue
                _log.info(
                    "daemon.stopping", signal=number.name, again=self._stop_requested.is_set()
                )
                self.stop()

    async def _report_ready(self) -> None:
        """Say that everything is up; from then on the configuration can be reloaded."""
        await self.supervisor.ready.wait()
        self._systemd_notifier.ready()
        _log.info("daemon.ready", worker_id=str(self.worker_id))
        if self._reloader is not None:
            await self._reloader.run()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        await self.services.database.open()
        try:
            yield
        finally:
            with anyio.move_on_after(_CLOSE_TIMEOUT_SECONDS, shield=True):
                await self.catalog.aclose()
                await self.services.database.close()

    # -- composition ----------------------------------------------------------------------------

    def _supervision_tree(self) -> Sequence[ChildSpec]:
        rooms, given = self.services, self.settings
        listener = Listener(
            rooms.database,
            sender=str(self.worker_id),
            on_hint=rooms.change_bus.receive,
            on_reconnect=rooms.change_bus.resync,
            metrics=rooms.metrics.notifications,
        )
        watch = ChatStreamPoller(
            rooms.hub,
            rooms.stream_reads,
            poll_seconds=given.worker.poll_seconds,
            metrics=rooms.metrics.notifications,
        )
        list_watch = ChatListPoller(
            rooms.list_hub, rooms.chat_lists, poll_seconds=given.worker.poll_seconds
        )
        rooms.change_bus.subscribe(rooms.list_hub.handle_hint)
        return [
            ChildSpec(name="listener", start=listener.run),
            ChildSpec(name="notifier", start=rooms.notifier.run),
            *(self._worker_actors.child_specs() if self._worker_actors else ()),
            ChildSpec(name="chat poller", start=watch.run),
            ChildSpec(name="list poller", start=list_watch.run),
            *self._auth.child_specs,
            ChildSpec(
                name="http",
                start=self.server.run,
                shutdown_seconds=given.http.drain_seconds + _HTTP_SHUTDOWN_SECONDS,
            ),
            *self._operations.child_specs(),
            ChildSpec(
                name="provider preload", start=self._preload_providers, restart=Restart.TEMPORARY
            ),
        ]

    def _build_app(self) -> FastAPI:
        given = self.settings
        return create_app(
            build_api_context(
                given, self.services, self.catalog, stream_sessions=self._stream_sessions
            ),
            authenticator=self._auth.authenticator,
            operations=self._operations.operations,
            metrics=self.services.metrics.http,
            not_ready=self._not_ready_reason,
            max_body_bytes=given.http.max_body_bytes,
            cors_origins=given.http.cors_origins,
            slow_request_seconds=given.log.slow_request_seconds,
            requests_per_second=given.limits.requests_per_second,
        )

    def _phase(self) -> str:
        if self._stop_requested.is_set():
            return "stopping"
        return "serving" if self.supervisor.ready.is_set() else "starting"

    def _not_ready_reason(self) -> str | None:
        if self._stop_requested.is_set():
            return "stopping"
        return None if self.supervisor.ready.is_set() else "starting"

    async def _preload_providers(self, child: ChildHandle) -> None:
        child.ready()
        await self.catalog.warm()

    # -- what others are told, and tell us ----------------------------------------------

    def _status_text(self) -> str:
        in_hand = len(self.chat_tasks.leases) if self.chat_tasks is not None else 0
        streams = self.services.hub.subscriber_count + self.services.list_hub.subscriber_count
        return f"{in_hand} chats in hand, {streams} streams open"

    def _apply_reload(self, settings: Settings, catalog: Catalog) -> None:
        """Put reloaded settings in force; see ``reload``."""
        self.settings, self.catalog = settings, catalog
        logs.register_secrets(secret_values(settings))
        logs.configure(level=settings.log.level, format=settings.log.format)
        self._app.state.slow_request_seconds = settings.log.slow_request_seconds
        self._app.state.max_body_bytes = settings.http.max_body_bytes
        self._app.state.token_buckets.per_second = settings.limits.requests_per_second
        self._loop_monitor.blocked_seconds = settings.log.loop_blocked_seconds
        self.services = with_reloaded_limits(self.services, settings)
        self._stream_sessions.max_per_owner = settings.limits.max_streams
        self._app.state.context = build_api_context(
            settings, self.services, catalog, stream_sessions=self._stream_sessions
        )
        if self._worker_actors is not None:
            self._worker_actors.reload(settings, catalog)
