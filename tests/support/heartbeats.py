"""Heartbeats without chats, whose database never lets them renew."""

from typing import Any, cast

from chatd.store.database import Database
from chatd.worker.heartbeat import Heartbeat
from chatd.worker.worker_lease import WorkerLease


def heartbeat_on(database: object) -> Heartbeat:
    """Return a heartbeat that connects by ``database.dedicated_connection``."""
    unused: Any = None
    return Heartbeat(
        cast("Database", database),
        unused,
        unused,
        worker_lease=WorkerLease(local_lease_seconds=15),
        heartbeat_seconds=5,
        max_chats=lambda: 1,
        models=tuple,
    )
