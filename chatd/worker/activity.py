"""Activity reporter: stores what the tasks of leased chats are doing."""

from typing import Final

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.leases import Leases
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.worker.chat_tasks import ChatTaskPool

_REPORTED_AT_ONCE: Final = 200
"""Chats of one statement, which holds a lock on each of them: so many take some 15 ms."""


class ActivityReporter:
    """Actor that stores the progress of each leased chat that has made some, once per heartbeat.

    It is apart from the heartbeat, so that no lock on a chat's row delays the renewal of the lease.
    """

    def __init__(
        self, leases: Leases, chat_tasks: ChatTaskPool, *, heartbeat_seconds: float
    ) -> None:
        self._leases = leases
        self._chat_tasks = chat_tasks
        self._loop = Periodic(
            self.step,
            interval_seconds=heartbeat_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> None:
        """Report the chats that have made progress since their last report. One that is locked waits."""
        due = [
            (lease, lease.progress.revision)
            for lease in self._chat_tasks.leases
            if lease.progress.revision != lease.reported_revision
        ]
        for first in range(0, len(due), _REPORTED_AT_ONCE):
            batch = due[first : first + _REPORTED_AT_ONCE]
            written = await self._leases.report_activity([lease.activity() for lease, _ in batch])
            for lease, revision in batch:
                if lease.key in written:
                    lease.reported_revision = revision

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
