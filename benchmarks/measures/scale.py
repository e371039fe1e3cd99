"""Statements that processes run by themselves, beside a million idle chats.

Each runs several times with other rows, as its actor runs it. PostgreSQL counts the rows of large tables
that were read by scans of a whole table, which none of them should do.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Final

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.measures.scale_fill import (
    DEAD_WORKER,
    ENTRIES_PER_CHAT,
    MODEL,
    UNSERVED_MODEL,
    WORKER,
    fill,
)
from chatd.domain.chat_list import ListQuery
from chatd.domain.cursor import Cursor
from chatd.domain.outcomes import ReapReason
from chatd.store import sweeps
from chatd.store.commits import NO_LISTENER
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.leases import ActivityReport, WorkerRegistration
from chatd.store.limits import ChatLimits
from chatd.store.reaps import ReapTarget
from chatd.store.stats import DatabaseStats
from chatd.store.store import Store, build_store
from chatd.store.tokens import Tokens
from chatd.telemetry.metrics import ContainmentMetrics, LeaseMetrics

Statement = Callable[[], Awaitable[object]]

_MAX_MS: Final = 50.0
_ROUNDS: Final = 5
_FILL_TIMEOUT_SECONDS: Final = 3600.0
_LARGE: Final = (
    "chats",
    "chat_events",
    "chat_parts",
    "chat_tombstones",
    "idempotency_keys",
    "api_tokens",
)
_SCANNED: Final = """
SELECT COALESCE(sum(seq_tup_read), 0) FROM pg_stat_user_tables WHERE relname = ANY($1::text[])
"""
_PAGES: Final = "SELECT pg_relation_size($1::regclass) / current_setting('block_size')::bigint"
_LEASED: Final = "SELECT id FROM chats WHERE worker_id = $1 ORDER BY id"
_REGISTRATION: Final = WorkerRegistration(
    host="bench", pid=1, version="0", max_chats=2000, models=(MODEL,)
)


async def measure(context: BenchContext) -> Sequence[Figure]:
    chats = context.profile.idle_chats
    dsn = await context.databases.create("scale")
    database = Database(dsn, statement_timeout_seconds=_FILL_TIMEOUT_SECONDS)
    await database.open()
    try:
        async with database.dedicated_connection() as connection:
            context.report_progress(f"filling {chats:,} chats, {ENTRIES_PER_CHAT} entries each")
            await fill(connection, chats=chats)
            statements = await _statements(database, connection)
            return await _measure_all(context, connection, database, statements)
    finally:
        await database.close()


async def _measure_all(
    context: BenchContext,
    connection: Connection,
    database: Database,
    statements: Mapping[str, Statement],
) -> list[Figure]:
    figures = []
    for name, statement in statements.items():
        context.report_progress(name)
        durations, read_before = [], await _scanned_rows(connection, database)
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            await statement()
            durations.append(1000 * (time.perf_counter() - begun))
        read = await _scanned_rows(connection, database) - read_before
        figures.append(
            Figure(
                name="scale_ms_" + "_".join(name.replace(",", "").split()),
                title=name,
                value=percentile(durations, 50),
                unit="ms",
                description=f"Median of {_ROUNDS}, beside {context.profile.idle_chats:,} idle chats "
                f"with {ENTRIES_PER_CHAT} journal entries each.",
                target=Target("<", _MAX_MS),
                detail={"lowest": min(durations), "highest": max(durations), "scanned rows": read},
            )
        )
    return figures


async def _scanned_rows(connection: Connection, database: Database) -> int:
    """Return the rows of large tables that scans of a whole table have read so far."""
    await database.fetch("SELECT pg_stat_force_next_flush()")  # by the session of the statements
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return int(await connection.fetchval(_SCANNED, list(_LARGE)))


async def _statements(database: Database, connection: Connection) -> Mapping[str, Statement]:
    store = build_store(
        database,
        worker_id=WORKER,
        limits=lambda: ChatLimits(max_active_chats=1000, max_running_per_owner=50),
        metrics=LeaseMetrics(),
        containment_metrics=ContainmentMetrics(),
        listener=NO_LISTENER,
    )
    await store.leases.register(connection, _REGISTRATION)
    leased = [row["id"] for row in await database.fetch(_LEASED, WORKER)]
    reports = [ActivityReport(chat_id, 1, "model stream", 1.0, 59.0) for chat_id in leased]
    streams = [(chat_id, Cursor(ENTRIES_PER_CHAT, 1, 20)) for chat_id in leased]
    tokens = [sha256(str(number).encode()).digest() for number in range(1, 101)]

    def poll_lists() -> Awaitable[object]:
        since = datetime.now(UTC) - timedelta(milliseconds=100)
        owners = [f"owner {number}" for number in range(500)]
        return store.chat_lists.changed_since([ListQuery(owner, since) for owner in owners])

    stats = DatabaseStats(database, lease_seconds=20.0)
    return {
        "heartbeat of 1,000 chats": lambda: store.leases.renew(connection),
        "report of 200 chats": lambda: store.leases.report_activity(reports[:200]),
        "look of the reaper": lambda: store.reaps.look(lease_seconds=20.0),
        **_claims(store),
        **_reaper(store),
        "unserved models": lambda: store.pending.unserved_models(
            lease_seconds=20.0, grace_seconds=60.0
        ),
        "failing 50 chats of an unserved model": lambda: store.pending.fail_unserved(
            [UNSERVED_MODEL], lease_seconds=20.0, grace_seconds=60.0
        ),
        "admitting held chats of 50 owners": store.pending.admit_held,
        "poll of 1,000 streams": lambda: store.stream_reads.updates_since(streams),
        "poll of 500 lists": poll_lists,
        "figures for /metrics": stats.collect,
        "check of 100 tokens": lambda: Tokens(database).validate(tokens),
        "pruning workers": lambda: store.leases.prune_workers(max_silence_seconds=200.0),
        **await _sweeps(store, database),
    }


def _claims(store: Store) -> Mapping[str, Statement]:
    def claim(limit: int, *, oldest_first: bool = False) -> Awaitable[object]:
        return store.claims.claim(
            limit, models=(MODEL,), suspect_recoveries=2, oldest_first=oldest_first
        )

    return {
        "claim of 50 chats": partial(claim, 50),
        "claim of the 50 oldest chats": partial(claim, 50, oldest_first=True),
    }


def _reaper(store: Store) -> Mapping[str, Statement]:
    targets = [ReapTarget(DEAD_WORKER, ReapReason.WORKER_DEAD)]
    return {
        "50 orphaned interrupts": lambda: store.reaps.orphaned_interrupts(targets),
        "reap of 50 chats": lambda: store.reaps.reap(targets, max_recoveries=3),
        "expiring the tool calls of 25 chats": store.tool_calls.expire,
    }


async def _sweeps(store: Store, database: Database) -> Mapping[str, Statement]:
    """Return sweeps of 16 pages: of the journal at its end, the others further on each time."""
    page = dict.fromkeys(
        (sweeps.JOURNAL, sweeps.TOMBSTONES, sweeps.IDEMPOTENCY_KEYS, sweeps.PARTS), 0
    )

    def sweep(
        table: str, retention_seconds: float | None, first_page: int | None = None
    ) -> Awaitable[int]:
        if first_page is None:
            first_page = page[table]
            page[table] += 16
        return store.sweeps.delete_expired(
            table,
            first_page=first_page,
            end_page=first_page + 16,
            retention_seconds=retention_seconds,
            limit=300,
        )

    (row,) = await database.fetch(_PAGES, sweeps.JOURNAL)
    week, day = 7 * 86_400.0, 86_400.0
    return {
        "sweep of the journal, nothing expired": lambda: sweep(sweeps.JOURNAL, week, row[0] - 16),
        "sweep of the journal, 300 entries": lambda: sweep(sweeps.JOURNAL, week),
        "sweep of tombstones": lambda: sweep(sweeps.TOMBSTONES, week),
        "sweep of idempotency keys": lambda: sweep(sweeps.IDEMPOTENCY_KEYS, day),
        "sweep of parts": lambda: sweep(sweeps.PARTS, None),
    }
