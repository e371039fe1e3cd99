"""Cost of renewing leases: time, and the share of updates without an index write (HOT)."""

import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.measures import seed
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.leases import ActivityReport, Leases, WorkerRegistration

_WARMUP_BEATS = 5
_UPDATES: Final = """
SELECT n_tup_upd, n_tup_hot_upd, pg_relation_size(relid) FROM pg_stat_user_tables WHERE relname = 'chats'
"""

_REGISTRATION: Final = WorkerRegistration(host="bench", pid=1, version="0", max_chats=1, models=())


async def measure(context: BenchContext) -> Sequence[Figure]:
    rows, beats = context.profile.leased_rows, context.profile.heartbeats
    database = Database(await context.databases.create("heartbeats"))
    await database.open()
    worker_id = uuid4()
    leases = Leases(database, worker_id=worker_id)
    chat_ids = await seed.insert_leased(
        database, await seed.insert_model(database), rows, worker_id
    )
    reports = [ActivityReport(chat_id, 1, "model stream", 1.0, 59.0) for chat_id in chat_ids]
    context.report_progress(f"{beats} beats for {rows:,} chats")
    times = []
    async with database.dedicated_connection() as connection:
        await leases.register(connection, _REGISTRATION)
        for _ in range(_WARMUP_BEATS):
            await leases.renew(connection)
            await leases.report_activity(reports)
        updates, hot, size = await _update_counts(database, connection)
        beat_wal = report_wal = 0
        for _ in range(beats):
            begun, position = time.perf_counter(), await _wal_position(connection)
            await leases.renew(connection)
            times.append(time.perf_counter() - begun)
            renewed = await _wal_position(connection)
            await leases.report_activity(reports)
            beat_wal += renewed - position
            report_wal += await _wal_position(connection) - renewed
        updates_then, hot_then, size_then = await _update_counts(database, connection)
    await database.close()
    return [
        Figure(
            name="heartbeat_hot_percent",
            title="HOT updates",
            value=100 * (hot_then - hot) / (updates_then - updates),
            unit="%",
            description=f"of {beats} heartbeats for {rows:,} leased chats among {10 * rows:,}",
            target=Target("≥", 99),
            detail={"table grew, MB": (size_then - size) / 2**20},
        ),
        Figure(
            name="heartbeat_ms",
            title=f"one heartbeat for {rows:,} chats",
            value=percentile(times, 50) * 1000,
            unit="ms",
            description="the worker's row is renewed and its chats are read (p50)",
            detail={"p99": percentile(times, 99) * 1000},
        ),
        Figure(
            name="heartbeat_wal_bytes",
            title="WAL of one heartbeat",
            value=beat_wal / beats,
            unit="B",
            description="and of the report of each chat that has made progress",
            detail={"B per chat": report_wal / beats / rows},
        ),
    ]


async def _wal_position(connection: Connection) -> int:
    """Return the bytes of WAL that the server has written so far."""
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def _update_counts(database: Database, connection: Connection) -> tuple[int, int, int]:
    """Return the updates and HOT updates of ``chats`` so far, and its size in bytes."""
    await database.fetch("SELECT pg_stat_force_next_flush()")  # by the session that reported
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    row = await connection.fetchrow(_UPDATES)
    assert row is not None  # noqa: S101 - the table is there
    return row[0], row[1], row[2]
