"""Leases of a worker that has no database."""

from typing import Any, cast

from chatd.domain.chat import Chat
from chatd.worker.clock import boottime
from chatd.worker.lease import Lease
from chatd.worker.worker_lease import WorkerLease
from support.chats import leased_chat

UNUSED = cast("Any", None)


def lease(*, age_seconds: float = 0.0, chat: Chat | None = None) -> Lease:
    worker_lease = WorkerLease(local_lease_seconds=15.0)
    worker_lease.renewed(boottime() - age_seconds)
    return Lease(chat or leased_chat(), worker_lease=worker_lease)
