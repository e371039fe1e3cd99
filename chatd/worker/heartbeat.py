"""Heartbeat: one statement renews all leases of this worker, on a connection of its own.

The same connection holds this worker's session lock. Another worker that can take that lock knows that this
process, or its connection, has ended. A worker without its own lock claims nothing.
"""

import socket
from collections.abc import Callable
from os import getpid
from uuid import UUID

import anyio
import structlog

from chatd import __version__
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.leases import Leases, WorkerRegistration
from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import MAX_RETRY_DELAY_SECONDS, Outage
from chatd.telemetry.metrics import LeaseMetrics
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.clock import boottime

_log = structlog.get_logger()

_LOCK_RETRY_SECONDS = 0.02
"""Pause between two tries for the lock. A reaper that tests it holds it for one statement."""


class Heartbeat:
    """Actor that renews the leases every ``heartbeat_seconds``, and when it is woken."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        chat_tasks: ChatTaskPool,
        *,
        heartbeat_seconds: float,
        max_chats: Callable[[], int],
        models: Callable[[], tuple[UUID, ...]],
        metrics: LeaseMetrics | None = None,
    ) -> None:
        self._metrics = metrics or LeaseMetrics()
        self._renewed_at: float | None = None
        self._database = database
        self._leases = leases
        self._chat_tasks = chat_tasks
        self._heartbeat_seconds = heartbeat_seconds
        self._max_chats = max_chats
        self._models = models
        self._woken = anyio.Event()
        self.holds_lock = False
        self._locks_reliable_at = 0.0
        """Boot time at which all living workers have their locks again."""
        self._distrusts_locks = False
        """Set if locks may have been freed without a death before this worker took its own."""
        self._progress_at = boottime()

    @property
    def locks_reliable(self) -> bool:
        """True if a free lock means that its worker is dead.

        PostgreSQL ends all sessions when one of them crashes or when a standby is promoted, which frees
        every lock. A worker that had to take its lock again gives the others time to take theirs.
        """
        return self.holds_lock and boottime() >= self._locks_reliable_at

    @property
    def seconds_since_progress(self) -> float:
        """Seconds since the last renewal, or since the last attempt to connect during an outage.

        It stays low while an outage is waited out. It rises when a statement never ends or the lock
        cannot be taken. Only a new process with a new ``worker_id`` cures that.
        """
        return boottime() - self._progress_at

    def distrust_locks(self) -> None:
        """Give the other workers time to take their locks again before a free one counts as a death."""
        self._distrusts_locks = True

    def wake(self) -> None:
        """Renew now: a lease may be lost, or the registration changed."""
        self._woken.set()

    async def run(self, child: ChildHandle) -> None:
        """Connect, take the lock and renew, again after each outage, until the stop."""
        outage = Outage(child, expected=(DatabaseUnavailable,))
        while not child.stopping.is_set():
            self._progress_at = boottime()
            async with (
                outage,
                self._database.dedicated_connection(stop=child.stopping) as connection,
            ):
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
        """Renew all leases. Raise ``DatabaseUnavailable`` after ``heartbeat_seconds``."""
        leases = self._chat_tasks.leases
        sent_at = boottime()
        try:
            with anyio.fail_after(self._heartbeat_seconds):
                renewals = await self._leases.renew(
                    connection, self._registration(), [lease.activity() for lease in leases]
                )
        except TimeoutError as error:
            raise DatabaseUnavailable(
                "The leases could not be renewed within one heartbeat."
            ) from error
        self._chat_tasks.apply_renewals(leases, renewals, sent_at=sent_at)
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
            host=socket.gethostname(),
            pid=getpid(),
            version=__version__,
            max_chats=self._max_chats(),
            models=self._models(),
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
