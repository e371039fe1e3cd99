"""Activity reporter: which chats it reports, and how many at once."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from support.chats import leased_chat

from chatd.store.leases import ActivityReport
from chatd.worker import activity
from chatd.worker.activity import ActivityReporter
from chatd.worker.lease import Lease
from chatd.worker.worker_lease import WorkerLease


class Reports:
    """A store that records which chats are reported with each statement, and finds some locked."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.locked: set[Any] = set()

    async def report_activity(self, reports: Sequence[ActivityReport]) -> set[Any]:
        self.sizes.append(len(reports))
        return {(each.chat_id, each.epoch) for each in reports} - self.locked


class Pool:
    def __init__(self, chats: int) -> None:
        worker_lease = WorkerLease(local_lease_seconds=1)
        self.leases = [Lease(leased_chat(), worker_lease=worker_lease) for _ in range(chats)]


async def test_many_chats_are_reported_with_several_statements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activity, "_REPORTED_AT_ONCE", 2)
    reports, pool = Reports(), Pool(5)
    reporter = ActivityReporter(cast("Any", reports), cast("Any", pool), heartbeat_seconds=5)
    for lease in pool.leases:
        lease.progress.revision += 1
    reports.locked = {pool.leases[3].key}
    await reporter.step()
    assert reports.sizes == [2, 2, 1]
    reports.locked = set()
    await reporter.step()
    assert reports.sizes == [2, 2, 1, 1]  # the one that was locked
    await reporter.step()
    assert len(reports.sizes) == 4
