"""The life of one process: its start, its signals and its stop."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID, uuid4

import anyio
import structlog
from anyio.abc import TaskStatus

from chatd import __version__, logs
from chatd.api.server import Server
from chatd.daemon.catalog import catalog_from_settings
from chatd.daemon.loop_monitor import LoopMonitor
from chatd.daemon.process import Process, ProcessState
from chatd.daemon.reload import Reloader
from chatd.daemon.runtime_config import RuntimeConfig, RuntimeConfigHolder
from chatd.daemon.services import build_services
from chatd.daemon.signals import received_signals
from chatd.daemon.startup import upsert_models
from chatd.daemon.supervision_tree import replace_mcp_servers, supervision_tree
from chatd.daemon.systemd import SystemdSocket
from chatd.daemon.systemd_notifier import SystemdNotifier
from chatd.daemon.wiring.actors import build_actors
from chatd.domain.errors import ChatdError
from chatd.llm.catalog import Catalog
from chatd.settings import Settings
from chatd.settings.sections import DatabaseSettings
from chatd.supervision.child import FatalError
from chatd.supervision.supervisor import Supervisor
from chatd.tools.http.client import ToolHttpClient
from chatd.worker.chat_tasks import ChatTaskPool

_log = structlog.get_logger()

_CLOSE_TIMEOUT_SECONDS = 10.0
"""Time for closing the connections to providers and to the database."""
_START_SECONDS = 30.0
"""Time for the start of one actor besides the first connection and statements."""
_MAX_SHUTDOWN_OVERHEAD_SECONDS = 60.0
"""Time for a stop besides the settings' own allowances, before it counts as stuck."""


class Daemon:
    """One process of chatd. The constructor only builds; ``run`` connects, starts and stops.

    ``catalog`` replaces the configured models. With ``handle_signals=False`` several daemons can run in
    one process, as the tests and the benchmarks do. ``reload_settings`` reads the settings anew on SIGHUP.
    ``systemd`` is the service manager to notify.
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
        """The settings at the start. ``config`` has what a reload may have replaced since."""
        self.config = RuntimeConfigHolder(
            RuntimeConfig.from_settings(
                settings, catalog or catalog_from_settings(settings), ToolHttpClient()
            )
        )
        self.config.on_replace(_configure_logs)
        self.worker_id: UUID = uuid4()
        self.services = build_services(
            settings, self.config, worker_id=self.worker_id, reload_settings=reload_settings
        )
        self._loop_monitor = LoopMonitor(
            blocked_seconds=self.config.loop_blocked_seconds, metrics=self.services.metrics.process
        )
        self._state = ProcessState()
        self._systemd = systemd or SystemdSocket()
        process = Process(
            worker_id=self.worker_id,
            state=self._state,
            loop_monitor=self._loop_monitor,
            systemd=self._systemd,
        )
        self.actors = build_actors(settings, self.services, self.config, process)
        self.supervisor = Supervisor(
            supervision_tree(self.actors, settings),
            name="chatd",
            start_timeout_seconds=_start_timeout_seconds(settings.database),
        )
        if self.actors.worker is not None:
            self.config.on_replace(self._replace_mcp_servers)
        self._state.attach(self.supervisor)
        self._systemd_notifier = self._build_systemd_notifier()
        self._reloader = reload_settings and self._build_reloader(reload_settings)
        self._handles_signals = handle_signals

    @property
    def catalog(self) -> Catalog:
        """The models in force."""
        return self.config.current.catalog

    @property
    def server(self) -> Server:
        return self.actors.server

    @property
    def port(self) -> int:
        """The port it listens on, once it is ready."""
        return self.server.port

    @property
    def chat_tasks(self) -> ChatTaskPool | None:
        """The leased chats, or None in a process that only serves."""
        return self.actors.worker and self.actors.worker.chat_tasks

    # -- start and stop -------------------------------------------------------------------------

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Start everything, wait for a request to stop, and stop everything in order.

        ``on_ready`` is called once all actors are up. Raises ``SchemaMismatch``, ``DatabaseAccessDenied``,
        ``FatalError`` and ``RestartBudgetExceeded``.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            if self._handles_signals:
                await group.start(self._handle_signals)
            for companion in (
                self._loop_monitor.run,
                self._systemd_notifier.run,
                partial(self._report_ready, on_ready),
            ):
                group.start_soon(companion)
            _log.info("daemon.starting", version=__version__, worker_id=str(self.worker_id))
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - raised below: the group would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        _log.info("daemon.stopped")

    async def _run(self) -> None:
        async with self._open():
            try:
                await self.supervisor.run()
            except FatalError as error:
                if isinstance(error.__cause__, ChatdError):  # it has an exit code of its own
                    raise error.__cause__ from None
                raise

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        await self.services.database.open()
        try:
            yield
        finally:
            with anyio.move_on_after(_CLOSE_TIMEOUT_SECONDS, shield=True):
                await self.catalog.aclose()
                await self.config.current.tool_client.aclose()
            await self.services.database.close()

    def stop(self) -> None:
        """Request a stop in order. A second call stops without waiting for turns and for draining."""
        again = self._state.stop_requested.is_set()
        self._state.stop_requested.set()
        self._systemd_notifier.stopping()
        if again:
            self.server.end_drain()
        if self.chat_tasks is not None:
            self.chat_tasks.stop_claiming()
            if again:
                self.chat_tasks.stop_now()
        self.supervisor.stop()

    # -- signals and the service manager ----------------------------------------------------------

    async def _handle_signals(self, *, task_status: TaskStatus[None]) -> None:
        signals = [signal.SIGTERM, signal.SIGINT]
        if self._reloader is not None:
            signals.append(signal.SIGHUP)
        with received_signals(*signals) as received:
            task_status.started()
            async for number in received:
                if number is signal.SIGHUP and self._reloader is not None:
                    self._reloader.request()
                    continue
                again = self._state.stop_requested.is_set()
                _log.info("daemon.stopping", signal=number.name, again=again)
                self.stop()

    async def _report_ready(self, on_ready: Callable[[], None]) -> None:
        """Report readiness once all actors are up. From then on reloads are served."""
        await self.supervisor.ready.wait()
        self._systemd_notifier.ready()
        _log.info("daemon.ready", worker_id=str(self.worker_id))
        on_ready()
        if self._reloader is not None:
            await self._reloader.run()

    def _replace_mcp_servers(self, config: RuntimeConfig) -> None:
        replace_mcp_servers(self.supervisor, self.services.mcp.replace(config.mcp))

    def _build_systemd_notifier(self) -> SystemdNotifier:
        worker = self.actors.worker
        return SystemdNotifier(
            self._systemd,
            status=self._status_text,
            healthy=lambda: worker is None or worker.healthy,
            max_stop_seconds=self.settings.http.drain_seconds
            + self.settings.worker.shutdown_grace_seconds
            + _MAX_SHUTDOWN_OVERHEAD_SECONDS,
        )

    def _build_reloader(self, reload_settings: Callable[[], Settings]) -> Reloader:
        return Reloader(
            self.settings,
            self.config,
            reload_settings=reload_settings,
            upsert_models=partial(upsert_models, self.services),
            systemd=self._systemd,
            systemd_notifier=self._systemd_notifier,
        )

    def _status_text(self) -> str:
        leased = len(self.chat_tasks.leases) if self.chat_tasks is not None else 0
        streams = self.services.hub.subscriber_count + self.services.list_hub.subscriber_count
        return f"{leased} chats leased, {streams} streams open"


def _start_timeout_seconds(database: DatabaseSettings) -> float:
    """Return the time that an actor has to get ready: more than it takes to notice an outage."""
    first_statements = 2 * database.statement_timeout_seconds
    return _START_SECONDS + database.connect_timeout_seconds + first_statements


def _configure_logs(config: RuntimeConfig) -> None:
    logs.configure(level=config.log_level, format=config.log_format)
