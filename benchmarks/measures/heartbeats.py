"""Cost of renewing leases: time, and the share of updates without an index write (HOT)."""

import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.measures import seed
from benchmarks.wal import wal_position
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.leases import ActivityReport, Leases, WorkerRegistration

_WARMUP_BEATS = 5
_STREAMING = 20
"""Chats that make progress between two heartbeats, of all that are leased."""
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
        for _ in range(beats):
            begun = time.perf_counter()
            await leases.renew(connection)
            times.append(time.perf_counter() - begun)
            await leases.report_activity(reports)
        updates_then, hot_then, size_then = await _update_counts(database, connection)
        wal = {
            streaming: await _wal_of_beats(leases, connection, reports[:streaming], beats)
            for streaming in (0, _STREAMING, len(reports))
        }
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
        *(_wal_figure(streaming, written, rows) for streaming, written in wal.items()),
    ]


async def _wal_of_beats(
    leases: Leases, connection: Connection, reports: Sequence[ActivityReport], beats: int
) -> float:
    """Return the bytes of WAL of one heartbeat after which these chats report their progress."""
    for _ in range(_WARMUP_BEATS):  # what reads clean up after earlier reports counts for those
        await leases.renew(connection)
    begun = await wal_position(connection)
    for _ in range(beats):
        await leases.renew(connection)
        if reports:
            await leases.report_activity(reports)
    return (await wal_position(connection) - begun) / beats


def _wal_figure(streaming: int, written: float, rows: int) -> Figure:
    return Figure(
        name=f"heartbeat_wal_bytes_{streaming}_streaming"
        if streaming
        else "heartbeat_wal_bytes_silent",
        title=f"WAL, {streaming:,} of {rows:,} chats streaming",
        value=written,
        unit="B",
        description="of one heartbeat, and of the report of each chat that has made progress",
    )


async def _update_counts(database: Database, connection: Connection) -> tuple[int, int, int]:
    """Return the updates and HOT updates of ``chats`` so far, and its size in bytes."""
    await database.fetch("SELECT pg_stat_force_next_flush()")  # by the session that reported
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    row = await connection.fetchrow(_UPDATES)
    assert row is not None  # noqa: S101 - the table is there
    return row[0], row[1], row[2]
