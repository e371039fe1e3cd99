"""The heartbeat: one statement renews every chat in hand, on a connection of its own.

The same connection holds this worker's lock: whoever can take that lock knows that the process, or
its connection, is gone. Without its own lock a worker claims nothing.
"""

import socket
from os import getpid

import anyio
import structlog

from chatd import __version__
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.database import Connection, Database
from chatd.store.leases import Leases, WorkerRegistration
from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import MAX_RETRY_DELAY_SECONDS, Outage
from chatd.telemetry.metrics import LeaseMetrics
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.clock import boottime

_log = structlog.get_logger()

_LOCK_RETRY_SECONDS = 0.02
"""A reaper that looks at our lock holds it for the length of one statement."""


class Heartbeat:
    """Beats every ``heartbeat_seconds``, and when it is woken."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        chat_tasks: ChatTaskPool,
        *,
        heartbeat_seconds: float,
        max_chats: int,
        metrics: LeaseMetrics | None = None,
    ) -> None:
        self._metrics = metrics or LeaseMetrics()
        self._renewed_at: float | None = None
        self._database = database
        self._leases = leases
        self._chat_tasks = chat_tasks
        self._heartbeat_seconds = heartbeat_seconds
        self.max_chats = max_chats
        self._woken = anyio.Event()
        self.holds_lock = False
        self._locks_reliable_at = 0.0
        """When the others have their locks again too."""
        self._distrusts_locks = False
        """Whether locks may have been freed when nobody died, before this worker took its own."""
        self._progress_at = boottime()

    @property
    def locks_reliable(self) -> bool:
        """Whether a worker whose lock is free is gone.

        A server that lost one of its sessions to a crash ends all of them, and so does one that is
        promoted; that frees every lock. Who had to take its own again gives the others the time to.
        """
        return self.holds_lock and boottime() >= self._locks_reliable_at

    @property
    def seconds_since_progress(self) -> float:
        """How long ago it last renewed, or began to reach for a database that is away.

        An outage is waited out, try after try, so it is no silence. What is: a statement that never
        ends, a lock that cannot be had. Nothing but a new process, with a new name, cures these.
        """
        return boottime() - self._progress_at

    def distrust_locks(self) -> None:
        """Give the others time to take their locks again, before a free one counts as a death."""
        self._distrusts_locks = True

    def wake(self) -> None:
        """Beat now: a chat in hand may not be ours any more, or the others are to know something."""
        self._woken.set()

    async def run(self, child: ChildHandle) -> None:
        outage = Outage(child, expected=(DatabaseUnavailable,))
        while not child.stopping.is_set():
            self._progress_at = boottime()
            async with outage, self._database.dedicated_connection() as connection:
                connection.add_termination_listener(lambda _: self.wake())
                try:
                    await self._take_lock(connection, child)
                    if outage.ongoing:
                        await self._database.expire_connections()
                    outage.recovered()
                    await self._renew_loop(connection, child)
                finally:
                    self.holds_lock = False
                    self._progress_at = boottime()

    async def step(self, connection: Connection) -> None:
        """One beat. A database that does not answer within a beat is away."""
        hands = self._chat_tasks.leases
        sent_at = boottime()
        try:
            with anyio.fail_after(self._heartbeat_seconds):
                beats = await self._leases.renew(
                    connection, self._registration(), [hand.activity() for hand in hands]
                )
        except TimeoutError as error:
            raise DatabaseUnavailable("The lease could not be renewed within a beat.") from error
        self._chat_tasks.apply_renewals(hands, beats, sent_at=sent_at)
        self._record_metrics(sent_at, boottime())

    def _record_metrics(self, sent_at: float, ended_at: float) -> None:
        self._metrics.heartbeat_duration.observe(ended_at - sent_at)
        if self._renewed_at is not None:
            self._metrics.heartbeat_lag.observe(
                max(ended_at - self._renewed_at - self._heartbeat_seconds, 0.0)
            )
        self._renewed_at = ended_at

    def _registration(self) -> WorkerRegistration:
        return WorkerRegistration(
            host=socket.gethostname(), pid=getpid(), version=__version__, max_chats=self.max_chats
        )

    async def _take_lock(self, connection: Connection, child: ChildHandle) -> None:
        await self._leases.renew(connection, self._registration())
        while not await self._leases.try_worker_lock(connection):
            if child.stopping.is_set():
                return
            await self._leases.terminate_stale_session(connection)
            await child.pause(_LOCK_RETRY_SECONDS)
        if self._distrusts_locks:
            self._locks_reliable_at = boottime() + self._heartbeat_seconds + MAX_RETRY_DELAY_SECONDS
        self._distrusts_locks = self.holds_lock = True

    async def _renew_loop(self, connection: Connection, child: ChildHandle) -> None:
        while not child.stopping.is_set():
            self._woken = anyio.Event()
            await self.step(connection)
            self._progress_at = boottime()
            child.ready()
            await child.pause(self._heartbeat_seconds, until=self._woken)
