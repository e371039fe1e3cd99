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
from chatd.api.server import Server
from chatd.api.stays import StreamSessions
from chatd.api.watch import ChatStreamPoller
from chatd.api.watch_lists import ChatListPoller
from chatd.daemon.attendant import Attendant
from chatd.daemon.callers import make_callers
from chatd.daemon.desk import make_desk
from chatd.daemon.loop_watch import LoopWatch
from chatd.daemon.overview import Overview
from chatd.daemon.preparation import keep_models, prepare
from chatd.daemon.reload import Reloader
from chatd.daemon.rooms import catalog_of, make_rooms, with_limits
from chatd.daemon.service_manager import ServiceManager
from chatd.daemon.workers import Workers
from chatd.llm.catalog import Catalog
from chatd.settings import Settings
from chatd.settings.secrets import secrets_of
from chatd.store.listener import Listener
from chatd.supervision.actor import ChildHandle, ChildSpec, Restart, StopRequest
from chatd.supervision.supervisor import Supervisor
from chatd.work.roster import ChatTaskPool

_log = structlog.get_logger()

_CLOSE_SECONDS = 10.0
"""What closing connections may take."""
_HTTP_SECONDS = 8.0
"""What ending streams and answering the last requests may take."""
_LONGEST_ORDERLY_END_SECONDS = 60.0
"""What all of it may take besides the settings' own allowances, before a stop counts as stuck."""


class Daemon:
    """One process of chatd.

    ``catalog`` replaces the configured models, ``signals`` says whether it listens to the process's
    signals; tests and the bench run several daemons in one process. ``reread`` reads the settings
    anew when SIGHUP asks for it; ``manager`` is who started this process, if it wants to be told.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        catalog: Catalog | None = None,
        signals: bool = True,
        reread: Callable[[], Settings] | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        self.settings = settings
        self._manager = manager or ServiceManager()
        self.worker_id: UUID = uuid4()
        self.catalog = catalog or catalog_of(settings)
        self.rooms = make_rooms(settings, worker_id=self.worker_id)
        self._workers = (
            Workers(settings, self.rooms, self.catalog, worker_id=self.worker_id)
            if settings.worker.enabled
            else None
        )
        self._callers = make_callers(settings, self.rooms.database)
        self._stays = StreamSessions(max_per_owner=settings.limits.max_streams)
        self._loop_watch = LoopWatch(
            blocked_seconds=settings.log.loop_blocked_seconds,
            metrics=self.rooms.metrics.process,
        )
        self._overview = Overview(
            settings,
            self.rooms,
            worker_id=self.worker_id,
            roster=self.roster,
            loop_watch=self._loop_watch,
            actors=lambda: self.supervisor.snapshot(),  # noqa: PLW0108 - it is made last
            phase=self._phase,
        )
        self._app = self._make_app()
        self.server = Server(
            self._app,
            self.rooms.hub,
            host=settings.http.host,
            port=settings.http.port,
            inherited_socket=lambda: self._manager.listener(
                loopback_only=settings.auth.mode == "none"
            ),
            keepalive_timeout_seconds=settings.http.idle_seconds,
            drain_seconds=settings.http.drain_seconds,
        )
        self._signals = signals
        self._stop = StopRequest()
        self.supervisor = Supervisor(self._tree(), name="chatd")
        self._attendant = Attendant(
            self._manager,
            status=self._status,
            sound=lambda: self._workers is None or self._workers.sound,
            longest_stop_seconds=settings.http.drain_seconds
            + settings.worker.shutdown_grace_seconds
            + _LONGEST_ORDERLY_END_SECONDS,
        )
        self._reloader = reread and Reloader(
            settings,
            self.catalog,
            reread=reread,
            keep_models=lambda catalog: keep_models(self.rooms, catalog),
            apply=self._apply,
            manager=self._manager,
            attendant=self._attendant,
        )

    @property
    def port(self) -> int:
        """Where it listens, once it is ready."""
        return self.server.port

    @property
    def roster(self) -> ChatTaskPool | None:
        """The chats in hand; None when this process only serves."""
        return self._workers.roster if self._workers else None

    # -- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start everything, wait for the end, and stop everything in order.

        Raises ``SchemaMismatch``, ``DatabaseAccessDenied``, ``Fatal``, ``RestartBudgetExceeded``.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            if self._signals:
                await group.start(self._heed_signals)
            for companion in (self._loop_watch.run, self._attendant.run, self._announce):
                group.start_soon(companion)
            _log.info("daemon.starting", version=__version__, worker_id=str(self.worker_id))
            try:
                await self._live()
            except Exception as error:  # noqa: BLE001 - raised below: the group would wrap it up
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        _log.info("daemon.stopped")

    async def _live(self) -> None:
        async with self._open():
            at_once = await prepare(self.settings, self.rooms, self.catalog, stop=self._stop)
            if not at_once and self._workers is not None:
                self._workers.doubt_locks()
            if not self._stop.is_set():
                await self.supervisor.run()

    def stop(self) -> None:
        """Stop in order; asked again, without waiting for the turns that are running."""
        again = self._stop.is_set()
        self._stop.set()
        self._attendant.stopping()
        if again:
            self.server.end_drain()
        if self.roster is not None:
            self.roster.stop_claiming()
            if again:
                self.roster.stop_now()
        self.supervisor.stop()

    async def _heed_signals(self, *, task_status: TaskStatus[None]) -> None:
        heeded = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if self._reloader else [])]
        with anyio.open_signal_receiver(*heeded) as received:
            task_status.started()
            async for number in received:
                if number is signal.SIGHUP and self._reloader is not None:
                    self._reloader.ask()
                    continue
                _log.info("daemon.stopping", signal=number.name, again=self._stop.is_set())
                self.stop()

    async def _announce(self) -> None:
        """Say that everything is up; from then on the configuration can be reloaded."""
        await self.supervisor.ready.wait()
        self._attendant.serving()
        _log.info("daemon.ready", worker_id=str(self.worker_id))
        if self._reloader is not None:
            await self._reloader.run()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        await self.rooms.database.open()
        try:
            yield
        finally:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self.catalog.aclose()
                await self.rooms.database.close()

    # -- composition ----------------------------------------------------------------------------

    def _tree(self) -> Sequence[ChildSpec]:
        rooms, given = self.rooms, self.settings
        listener = Listener(
            rooms.database,
            sender=str(self.worker_id),
            on_hint=rooms.hints.receive,
            on_reconnect=rooms.hints.resync,
            metrics=rooms.metrics.notifications,
        )
        watch = ChatStreamPoller(
            rooms.hub,
            rooms.streams,
            poll_seconds=given.worker.poll_seconds,
            metrics=rooms.metrics.notifications,
        )
        list_watch = ChatListPoller(
            rooms.list_hub, rooms.lists, poll_seconds=given.worker.poll_seconds
        )
        rooms.hints.subscribe(rooms.list_hub.handle_hint)
        return [
            ChildSpec(name="listener", start=listener.run),
            ChildSpec(name="notifier", start=rooms.notifier.run),
            *(self._workers.specs() if self._workers else ()),
            ChildSpec(name="watch", start=watch.run),
            ChildSpec(name="list watch", start=list_watch.run),
            *self._callers.specs,
            ChildSpec(
                name="http",
                start=self.server.run,
                shutdown_seconds=given.http.drain_seconds + _HTTP_SECONDS,
            ),
            *self._overview.specs(),
            ChildSpec(name="warm-up", start=self._warm_up, restart=Restart.TEMPORARY),
        ]

    def _make_app(self) -> FastAPI:
        given = self.settings
        return create_app(
            make_desk(given, self.rooms, self.catalog, stays=self._stays),
            authenticator=self._callers.keeper,
            operations=self._overview.operations,
            metrics=self.rooms.metrics.http,
            not_ready=self._not_ready,
            max_body_bytes=given.http.max_body_bytes,
            cors_origins=given.http.cors_origins,
            slow_request_seconds=given.log.slow_request_seconds,
            requests_per_second=given.limits.requests_per_second,
        )

    def _phase(self) -> str:
        if self._stop.is_set():
            return "stopping"
        return "serving" if self.supervisor.ready.is_set() else "starting"

    def _not_ready(self) -> str | None:
        if self._stop.is_set():
            return "stopping"
        return None if self.supervisor.ready.is_set() else "starting"

    async def _warm_up(self, child: ChildHandle) -> None:
        child.ready()
        await self.catalog.warm()

    # -- what others are told, and tell us ----------------------------------------------

    def _status(self) -> str:
        in_hand = len(self.roster.leases) if self.roster is not None else 0
        streams = self.rooms.hub.subscriber_count + self.rooms.list_hub.subscriber_count
        return f"{in_hand} chats in hand, {streams} streams open"

    def _apply(self, settings: Settings, catalog: Catalog) -> None:
        """Put reloaded settings in force; see ``reload``."""
        self.settings, self.catalog = settings, catalog
        logs.hide(secrets_of(settings))
        logs.configure(level=settings.log.level, format=settings.log.format)
        self._app.state.slow_request_seconds = settings.log.slow_request_seconds
        self._app.state.max_body_bytes = settings.http.max_body_bytes
        self._app.state.rates.per_second = settings.limits.requests_per_second
        self._loop_watch.blocked_seconds = settings.log.loop_blocked_seconds
        self.rooms = with_limits(self.rooms, settings)
        self._stays.max_per_owner = settings.limits.max_streams
        self._app.state.desk = make_desk(settings, self.rooms, catalog, stays=self._stays)
        if self._workers is not None:
            self._workers.reload(settings, catalog)
