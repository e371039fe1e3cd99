"""Heartbeat: renews the lease of this worker, on a connection of its own.

The same connection holds this worker's session lock. Another worker that finds that lock free twice, and no
heartbeat between, knows that this process has ended. Behind a transaction pooler the lock would sit in a
session of others, so it is not taken, and only an expired lease tells.
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
from chatd.store.leases import Leases, RenewedLease, WorkerRegistration
from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage
from chatd.telemetry.metrics import LeaseMetrics
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.clock import boottime
from chatd.worker.worker_lease import WorkerLease

_log = structlog.get_logger()

_LOCK_RETRY_SECONDS = 0.02
"""Pause between two tries for the lock. A reaper that tests it holds it for one statement."""
_RECONNECT_MAX_SECONDS = 0.5
"""Longest pause between two tries to connect, so that others see a living worker within a second."""


class Heartbeat:
    """Actor that renews the lease every ``heartbeat_seconds``, and when it is woken."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        chat_tasks: ChatTaskPool,
        *,
        worker_lease: WorkerLease,
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
        self._worker_lease = worker_lease
        self._heartbeat_seconds = heartbeat_seconds
        self._max_chats = max_chats
        self._models = models
        self._woken = anyio.Event()
        self._registered: WorkerRegistration | None = None
        self.lock_proved = False
        """Set while the lock is held in a session of this worker's own."""
        self._progress_at = boottime()

    @property
    def seconds_since_progress(self) -> float:
        """Seconds since the last renewal, or since the last attempt to connect during an outage.

        It stays low while an outage is waited out. It rises when a statement never ends or the lock
        cannot be taken, also over restarts of this actor. Only a new process with a new ``worker_id``
        cures that.
        """
        return boottime() - self._progress_at

    def wake(self) -> None:
        """Renew now: a lease may be lost, or the registration changed."""
        self._woken.set()

    async def run(self, child: ChildHandle) -> None:
        """Connect, take the lock and renew, again after each outage, until the stop."""
        outage = Outage(
            child,
            expected=(DatabaseUnavailable,),
            backoff_max_seconds=_RECONNECT_MAX_SECONDS,
            retry_at_once=True,
        )
        while not child.stopping.is_set():
            async with outage:
                try:
                    await self._serve(child, outage)
                except DatabaseUnavailable:
                    self._progress_at = boottime()  # the outage is waited out
                    raise
                finally:
                    self._worker_lease.interrupted()
                    self.lock_proved, self._registered = False, None

    async def step(self, connection: Connection) -> None:
        """Renew the lease. Raise ``DatabaseUnavailable`` after ``heartbeat_seconds``."""
        leases = self._chat_tasks.leases
        sent_at = boottime()
        try:
            with anyio.fail_after(self._heartbeat_seconds):
                await self._register_changes(connection)
                renewed = await self._leases.renew(connection)
                if renewed is None:  # others pruned the row of a process that was frozen
                    self._registered = None
                    await self._register_changes(connection)
                    renewed = await self._leases.renew(connection) or RenewedLease([], False)
        except TimeoutError as error:
            raise DatabaseUnavailable(
                "The lease could not be renewed within one heartbeat."
            ) from error
        self._chat_tasks.apply_renewals(leases, renewed.chats, sent_at=sent_at)
        self._chat_tasks.pause_claims(paused=renewed.draining)
        self._worker_lease.renewed(sent_at)
        self._record_metrics(sent_at, boottime())

    async def _serve(self, child: ChildHandle, outage: Outage) -> None:
        async with self._database.dedicated_connection(stop=child.stopping) as connection:
            connection.add_termination_listener(lambda _: self.wake())
            await self._take_lock(connection, child)
            if outage.ongoing:
                await self._database.expire_connections()
            outage.recovered()
            while not child.stopping.is_set():
                self._woken = anyio.Event()
                await self.step(connection)
                self._progress_at = boottime()
                child.ready()
                await child.pause(self._heartbeat_seconds, until=self._woken)

    async def _take_lock(self, connection: Connection, child: ChildHandle) -> None:
        """Take the lock, if its session would be this worker's own. The first renewal registers that."""
        await self._register_changes(connection)
        if not await self._leases.owns_session(connection):
            _log.warning("heartbeat.lock_unproved")
            return
        while not await self._leases.try_worker_lock(connection):
            if child.stopping.is_set():
                return
            await self._leases.terminate_stale_session(connection)
            await child.pause(_LOCK_RETRY_SECONDS)
        self.lock_proved = await self._leases.holds_worker_lock(connection)

    async def _register_changes(self, connection: Connection) -> None:
        """Write the worker's row if it is not as it was last written."""
        registration = WorkerRegistration(
            host=socket.gethostname(),
            pid=getpid(),
            version=__version__,
            max_chats=self._max_chats(),
            models=self._models(),
            lock_proved=self.lock_proved,
        )
        if registration != self._registered:
            await self._leases.register(connection, registration)
            self._registered = registration

    def _record_metrics(self, sent_at: float, ended_at: float) -> None:
        self._metrics.heartbeat_duration.observe(ended_at - sent_at)
        if self._renewed_at is not None:
            self._metrics.heartbeat_lag.observe(
                max(ended_at - self._renewed_at - self._heartbeat_seconds, 0.0)
            )
        self._renewed_at = ended_at
