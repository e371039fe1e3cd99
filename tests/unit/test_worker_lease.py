"""The lease of a worker: when it is held."""

import pytest

from chatd.worker.worker_lease import WorkerLease


def test_lease_is_held_while_it_is_connected_and_not_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("chatd.worker.worker_lease.boottime", lambda: now)
    lease = WorkerLease(local_lease_seconds=15.0)
    assert not lease.held, "never renewed"
    lease.renewed(99.0)
    assert (lease.held, lease.remaining_seconds) == (True, 14.0)
    lease.interrupted()
    assert (lease.held, lease.remaining_seconds) == (False, 14.0)
    lease.renewed(100.0)
    now = 114.9
    assert lease.held
    now = 115.0
    assert not lease.held, "its process was frozen, and the heartbeat has not seen that yet"
