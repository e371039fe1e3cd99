"""Property: whatever a model calls, and whatever happens after any statement, the ledger holds.

Generated plans of turns with tools of all kinds, of workers that die, stand still or get no response, and
of people who interrupt, send and edit. Real runners make the turns, against the database.
``CHATD_TEST_TRIALS=10`` makes ten times as many plans, at 0.2 s each.
"""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from structlog.testing import capture_logs
from support.captured_requests import request_breaches
from support.ledger_plans import PLANS, Act, Effect, Fault, Kind, Plan, PlannedAnswer, PlannedCall
from support.ledger_world import LedgerWorld
from support.trials import trials

from chatd.domain.tool_call import MAX_TRIES
from chatd.store.database import Database

ONCE, AGAIN = PlannedCall(Kind.ONCE), PlannedCall(Kind.IDEMPOTENT)
TAKEN_TWICE = Plan(
    answers=[PlannedAnswer([ONCE, AGAIN, ONCE, ONCE, AGAIN])],
    faults={1: Fault.TAKEN_BEFORE, 2: Fault.DIES_BEFORE, 3: Fault.TAKEN_BEFORE},
)
"""A worker stands still before it stores results and starts calls, and the next one dies there."""
INTERRUPTED_BETWEEN_RESULTS = Plan(
    answers=[
        PlannedAnswer(
            [ONCE, AGAIN, PlannedCall(Kind.ONCE, Effect.LATER), PlannedCall(Kind.CLIENT), ONCE]
        )
    ],
    faults={1: Fault.INTERRUPTED_AFTER},
)
ASKS = [PlannedCall(Kind.ASKS), PlannedCall(Kind.ASKS_IDEMPOTENT)]
DYING_BETWEEN_QUESTIONS = [
    Plan(answers=[PlannedAnswer(ASKS)], faults={statement: fault})
    for statement in range(9)
    for fault in (Fault.DIES_AFTER, Fault.NO_RESPONSE)
]
"""A worker dies, or gets no response, when it has stored a question, asked it, or gone on."""
ALWAYS_DYING = Plan(
    answers=[PlannedAnswer([AGAIN, ONCE])],
    faults=dict.fromkeys(range(6), Fault.DIES_AFTER),
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Yield the loop in which all plans run."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def ledger_database(loop: asyncio.Runner, module_dsn: str) -> Iterator[Database]:
    database = Database(module_dsn, pool_size=5, statement_timeout_seconds=10.0)
    loop.run(database.open())
    yield database
    loop.run(database.close())


@pytest.fixture(autouse=True)
def _results_are_stored_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatd.worker.tool_run.BATCH_SECONDS", 0.002)


async def check_requests(world: LedgerWorld) -> None:
    """Check that the APIs of the providers take every history that the model was shown."""
    histories = {tuple(m.id for m in r.messages): r.messages for r in world.provider.requests}
    assert await request_breaches([*histories.values()]) == []


def run_plan(loop: asyncio.Runner, database: Database, plan: Plan) -> LedgerWorld:
    world = LedgerWorld(database, plan)

    async def run() -> None:
        async with asyncio.timeout(60):
            await world.run()
            await check_requests(world)

    with capture_logs():
        loop.run(run())
    return world


@pytest.mark.parametrize("act", Act)
def test_whatever_people_do_each_call_is_answered(
    loop: asyncio.Runner, ledger_database: Database, act: Act
) -> None:
    plan = Plan(answers=[PlannedAnswer([PlannedCall(kind) for kind in Kind])], acts=[act])
    assert run_plan(loop, ledger_database, plan).faults[act] >= 1


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        *((act, None) for act in (Act.ALLOW, Act.INTERRUPT, Act.SEND, Act.EDIT)),
        *((Act.ALLOW, fault) for fault in (Fault.DIES_AFTER, Fault.NO_RESPONSE)),
        (Act.ALLOW, Fault.INTERRUPTED_AFTER),
    ],
)
def test_however_a_wait_for_chats_ends_it_is_answered(
    loop: asyncio.Runner, ledger_database: Database, act: Act, fault: Fault | None
) -> None:
    waits = PlannedCall(Kind.WAITS)
    faults = {} if fault is None else {1: fault}
    plan = Plan(
        answers=[PlannedAnswer([waits]), PlannedAnswer([ONCE, waits, AGAIN, waits])],
        faults=faults,
        acts=[act],
    )
    assert run_plan(loop, ledger_database, plan).faults["parked"] >= 1


@pytest.mark.parametrize("statement", [0, 1])
@pytest.mark.parametrize("fault", Fault)
def test_whatever_goes_wrong_each_call_is_answered(
    loop: asyncio.Runner, ledger_database: Database, fault: Fault, statement: int
) -> None:
    asked = [PlannedCall(Kind.ASKED), PlannedCall(Kind.ASKS)]
    calls = [ONCE, AGAIN, PlannedCall(Kind.ONCE, Effect.LATER), AGAIN, *asked]
    plan = Plan(answers=[PlannedAnswer(calls)], faults={statement: fault})
    assert run_plan(loop, ledger_database, plan).faults[fault] == 1


@pytest.mark.parametrize("plan", DYING_BETWEEN_QUESTIONS, ids=lambda plan: str(plan.faults))
def test_no_question_is_lost_and_no_call_goes_on_twice(
    loop: asyncio.Runner, ledger_database: Database, plan: Plan
) -> None:
    run_plan(loop, ledger_database, plan)


@pytest.mark.parametrize("effect", [Effect.OK, Effect.TAKEN])
def test_call_is_reattached_to_however_often_its_worker_dies(
    loop: asyncio.Runner, ledger_database: Database, effect: Effect
) -> None:
    plan = Plan(
        answers=[PlannedAnswer([PlannedCall(Kind.REATTACHED, effect)])],
        faults=dict.fromkeys(range(1, 10, 2), Fault.DIES_BEFORE),
    )
    world = run_plan(loop, ledger_database, plan)
    assert world.faults["reattached"] > (MAX_TRIES if effect is Effect.OK else 0)


@settings(
    max_examples=trials(20),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(plan=PLANS)
@example(plan=TAKEN_TWICE)
@example(plan=INTERRUPTED_BETWEEN_RESULTS)
@example(plan=ALWAYS_DYING)
def test_ledger_holds(loop: asyncio.Runner, ledger_database: Database, plan: Plan) -> None:
    world = run_plan(loop, ledger_database, plan)
    for fault in world.faults:  # `pytest --hypothesis-show-statistics` says how often there was one
        event(fault)
