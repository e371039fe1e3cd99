"""Statements and rows that tools cost: a step with one tool is two statements, and no row is read again."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from support.ledger_plans import Effect, Kind, Plan, PlannedAnswer, PlannedCall
from support.ledger_world import LedgerWorld

from chatd.store.database import Database

STEPS = 50


class CountingDatabase(Database):
    """Database that counts the statements of a worker."""

    count = 0

    async def fetch(self, *args: Any, **parameters: Any) -> Any:
        self.count += 1
        return await super().fetch(*args, **parameters)


async def statements_of(dsn: str, database: Database, plan: Plan) -> int:
    """Return the statements of a worker for this turn, without the read of its history and its end."""
    counting = CountingDatabase(dsn, pool_size=2, statement_timeout_seconds=10.0)
    await counting.open()
    world = LedgerWorld(database, plan, parallel=8, worker_database=counting)
    with capture_logs():
        await world.run()
    await counting.close()
    return counting.count - 2


def calls(kind: Kind, *effects: Effect) -> PlannedAnswer:
    return PlannedAnswer([PlannedCall(kind, effect) for effect in effects])


@pytest.mark.parametrize("kind", [Kind.ONCE, Kind.IDEMPOTENT, Kind.BAD_ARGUMENTS])
async def test_step_with_one_tool_takes_two_statements(
    dsn: str, database: Database, kind: Kind
) -> None:
    assert await statements_of(dsn, database, Plan([])) == 0
    assert await statements_of(dsn, database, Plan([calls(kind, Effect.OK)])) == 2
    three = [calls(kind, Effect.OK), calls(kind, Effect.ERROR), calls(kind, Effect.LATER)]
    assert await statements_of(dsn, database, Plan(three)) == 6


@pytest.mark.parametrize("effects", [[Effect.OK] * 8, [Effect.OK, Effect.LATER] * 4])
async def test_step_with_eight_tools_takes_at_most_three(
    dsn: str, database: Database, effects: list[Effect]
) -> None:
    assert await statements_of(dsn, database, Plan([calls(Kind.ONCE, *effects)])) <= 3


class UnobservedWorld(LedgerWorld):
    """Chat that the test does not read meanwhile."""

    async def observe(self) -> None:
        pass


async def test_long_turn_reads_each_row_once(dsn: str, database: Database) -> None:
    """One connection makes all statements, so that its counts can be flushed."""
    counting = CountingDatabase(dsn, pool_size=1, statement_timeout_seconds=10.0)
    await counting.open()
    plan = Plan([calls(Kind.ONCE, Effect.OK)] * STEPS)
    with capture_logs():
        await UnobservedWorld(database, plan, worker_database=counting).run(keep=True)
    assert counting.count == 1 + 2 * STEPS + 1
    read = await rows_read(counting)
    await counting.close()
    assert read["chat_messages"] <= 2 * STEPS + 10
    assert read["chat_tool_calls"] <= 5 * STEPS, "each step reads its own calls"


async def rows_read(database: Database) -> dict[str, int]:
    """Return the rows of each table that were read so far by the one connection of ``database``."""
    await database.fetch("SELECT pg_stat_force_next_flush()")
    await database.fetch("SELECT 1")
    rows = await database.fetch(
        "SELECT relname, seq_tup_read + COALESCE(idx_tup_fetch, 0) AS read FROM pg_stat_user_tables"
    )
    return {row["relname"]: row["read"] for row in rows}
