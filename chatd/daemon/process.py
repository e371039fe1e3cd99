"""One process: its tree of actors, its signals, its start and its end."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import anyio
import structlog
from anyio.abc import TaskStatus
from fastapi import FastAPI

from chatd import __version__
from chatd.api.app import create_app
from chatd.api.desk import Desk
from chatd.api.server import Server
from chatd.api.watch import Watch
from chatd.daemon.rooms import catalog_of, make_rooms
from chatd.daemon.workers import Workers
from chatd.domain.errors import DatabaseAway
from chatd.llm.catalog import Catalog
from chatd.settings import Settings
from chatd.store import migrate
from chatd.store.listener import Listener
from chatd.supervision.actor import Ask, Child, ChildSpec, Restart
from chatd.supervision.outage import Outage
from chatd.supervision.supervisor import Supervisor
from chatd.work.roster import Roster

_log = structlog.get_logger()

_CLOSE_SECONDS = 10.0
"""What closing connections may take."""


class Daemon:
    """One process of chatd.

    ``catalog`` replaces the configured models, ``signals`` says whether it listens to the process's
    signals; tests and the bench run several daemons in one process.
    """

    def __init__(
        self, settings: Settings, *, catalog: Catalog | None = None, signals: bool = True
    ) -> None:
        self.settings = settings
        self.worker_id: UUID = uuid4()
        self.rooms = make_rooms(settings, catalog or catalog_of(settings), worker_id=self.worker_id)
        self._workers = (
            Workers(settings, self.rooms, worker_id=self.worker_id)
            if settings.worker.enabled
            else None
        )
        self.server = Server(
            self._app(), self.rooms.hub, host=settings.http.host, port=settings.http.port
        )
        self._signals = signals
        self._stop = Ask()
        self.supervisor = Supervisor(self._tree(), name="chatd")

    @property
    def port(self) -> int:
        """Where it listens, once it is ready."""
        return self.server.port

    @property
    def roster(self) -> Roster | None:
        """The chats in hand; None when this process only serves."""
        return self._workers.roster if self._workers else None

    # -- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start everything, wait for the end, and stop everything in order.

        Raises ``SchemaMismatch``, ``DatabaseRefused``, ``Fatal``, ``RestartBudgetExceeded``.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            if self._signals:
                await group.start(self._heed_signals)
            _log.info("daemon.starting", version=__version__, worker_id=str(self.worker_id))
            try:
                await self._live()
            except Exception as error:  # noqa: BLE001 - raised below: the group would wrap it up
                failure = error
            group.cancel_scope.cancel()
        _log.info("daemon.stopped")
        if failure is not None:
            raise failure

    async def _live(self) -> None:
        async with self._open():
            await self._prepare()
            if not self._stop.is_set():
                await self.supervisor.run()

    def stop(self) -> None:
        """Stop in order; asked again, without waiting for the turns that are running."""
        again = self._stop.is_set()
        self._stop.set()
        if self.roster is not None:
            self.roster.stop_claiming()
            if again:
                self.roster.hurry()
        self.supervisor.stop()

    async def _heed_signals(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            task_status.started()
            async for number in received:
                _log.info("daemon.stopping", signal=number.name, again=self._stop.is_set())
                self.stop()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        await self.rooms.database.open()
        try:
            yield
        finally:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self.rooms.catalog.aclose()
                await self.rooms.database.close()

    async def _prepare(self) -> None:
        """See that the schema fits and the models are rows, as soon as the database is there."""
        waiting = Child("database")
        waiting.stopping = self._stop
        outage = Outage(waiting, expected=(DatabaseAway,))
        ready = False
        while not ready and not self._stop.is_set():
            async with outage:
                await self._check_schema()
                await self._keep_models()
                ready = True

    async def _check_schema(self) -> None:
        database = self.settings.database
        url = (database.direct_url or database.url).get_secret_value()
        if database.migrate_on_start:
            await migrate.up(url)
            return
        async with self.rooms.database.direct() as connection:
            await migrate.check(connection)

    async def _keep_models(self) -> None:
        rooms = self.rooms
        await rooms.reads.keep_models(
            [
                (m.id, m.name, m.provider, m.model, m.context_limit, dict(m.settings))
                for m in rooms.catalog.models
            ]
        )
        rooms.names.learn(await rooms.reads.model_names())

    # -- composition ----------------------------------------------------------------------------

    def _tree(self) -> Sequence[ChildSpec]:
        rooms, given = self.rooms, self.settings
        listener = Listener(
            rooms.database,
            sender=str(self.worker_id),
            heard=rooms.hints.heard,
            deaf=rooms.hints.deaf,
        )
        watch = Watch(rooms.hub, rooms.streams, poll_seconds=given.worker.poll_seconds)
        return [
            ChildSpec(name="listener", start=listener.run),
            ChildSpec(name="notifier", start=rooms.notifier.run),
            *(self._workers.specs() if self._workers else ()),
            ChildSpec(name="watch", start=watch.run),
            ChildSpec(name="http", start=self.server.run, shutdown_seconds=8.0),
            ChildSpec(name="warm-up", start=self._warm_up, restart=Restart.TEMPORARY),
        ]

    def _app(self) -> FastAPI:
        rooms = self.rooms
        desk = Desk(
            chats=rooms.chats,
            actions=rooms.actions,
            messages=rooms.messages,
            queue=rooms.queue,
            reads=rooms.reads,
            streams=rooms.streams,
            hub=rooms.hub,
            hints=rooms.hints,
            catalog=rooms.catalog,
            names=rooms.names,
            keepalive_seconds=self.settings.http.sse_keepalive_seconds,
            max_tools=self.settings.turn.max_tools,
        )
        return create_app(
            desk,
            not_ready=self._not_ready,
            max_body_bytes=self.settings.http.max_body_bytes,
            slow_request_seconds=self.settings.log.slow_request_seconds,
        )

    def _not_ready(self) -> str | None:
        return None if self.supervisor.ready.is_set() else "starting"

    async def _warm_up(self, child: Child) -> None:
        child.ready()
        await self.rooms.catalog.warm()
