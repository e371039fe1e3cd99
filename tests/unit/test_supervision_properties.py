"""Random trees of misbehaving children: order, budget and timeouts hold whatever they do."""

import asyncio
from asyncio import CancelledError
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import anyio
from hypothesis import event, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.trials import trials
from support.virtual_clock import on_virtual_time

from chatd.supervision.child import ChildHandle, ChildSpec, FatalError, Restart
from chatd.supervision.child_supervisor import ChildState
from chatd.supervision.restart_budget import RestartBudget, RestartBudgetExceeded
from chatd.supervision.supervisor import Supervisor

WINDOW_SECONDS = 20.0
START_SECONDS = 5.0
SLACK = 1e-6


@dataclass(frozen=True)
class Behaviour:
    """One run of a child: its start, its own end, and its reaction to a stop."""

    ready_after: float | None
    ends_after: float | None
    ends_by: str
    when_asked: str
    when_cancelled: str
    cleanup: float  # shielded; a share of the allowance


@dataclass(frozen=True)
class Plan:
    restart: Restart
    shutdown_seconds: float
    dependencies: frozenset[int]
    runs: tuple[Behaviour, ...]  # the last one again and again


@dataclass
class Diary:
    """Events that the children recorded themselves."""

    started: list[str] = field(default_factory=list)
    been_ready: set[str] = field(default_factory=set)
    up: set[str] = field(default_factory=set)
    ends: list[tuple[str, float, bool]] = field(default_factory=list)  # name, time, was asked


behaviours = st.builds(
    Behaviour,
    ready_after=st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 4.5, 6.0, None]),
    ends_after=st.none() | st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5, 10.0]),
    ends_by=st.sampled_from(["return", "raise", "raise", "group", "stray", "fatal"]),
    when_asked=st.sampled_from(["obey", "obey", "ignore", "dawdle"]),
    when_cancelled=st.sampled_from(["end", "end", "swallow", "crash"]),
    cleanup=st.sampled_from([0.0, 0.0, 0.5, 0.99]),
)
plans = st.builds(
    Plan,
    restart=st.sampled_from([Restart.PERMANENT, *Restart]),
    shutdown_seconds=st.sampled_from([0.5, 1.0, 5.0]),
    dependencies=st.frozensets(st.integers(0, 4), max_size=2),
    runs=st.lists(behaviours, min_size=1, max_size=4).map(tuple),
)


async def live(child: ChildHandle, plan: Plan, behaviour: Behaviour, diary: Diary) -> None:
    if behaviour.ready_after is None:
        await anyio.sleep_forever()
    else:
        await anyio.sleep(behaviour.ready_after)
    child.ready()
    if not child.stopping.is_set():
        diary.been_ready.add(child.name)
        diary.up.add(child.name)
    with anyio.move_on_after(behaviour.ends_after):
        if behaviour.when_asked == "ignore":
            await anyio.sleep_forever()
        await child.stopping.wait()
        if behaviour.when_asked == "dawdle":
            await anyio.sleep(plan.shutdown_seconds / 2)
        return
    await end_badly(behaviour.ends_by)


async def end_badly(how: str) -> None:
    match how:
        case "return":
            return
        case "fatal":
            raise FatalError
        case "stray":
            raise CancelledError
        case "group":
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                raise ValueError
        case _:
            raise ValueError


def start_of(plan: Plan, diary: Diary, names: list[str]) -> Any:
    runs = iter(plan.runs)

    async def start(child: ChildHandle) -> None:
        assert diary.up.issuperset(names[n] for n in plan.dependencies), "a dependency is not up"
        diary.started.append(child.name)
        behaviour = next(runs, plan.runs[-1])
        try:
            try:
                await live(child, plan, behaviour, diary)
            except CancelledError:
                if behaviour.when_cancelled == "crash":
                    raise OSError from None
                if behaviour.when_cancelled == "swallow":
                    await anyio.sleep(1)
                raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(behaviour.cleanup * plan.shutdown_seconds)
            diary.up.discard(child.name)
            diary.ends.append((child.name, anyio.current_time(), child.stopping.is_set()))

    return start


class Watched(Supervisor):
    """Supervisor that records when its end began."""

    halted_at: float | None = None
    cancelled_at: float | None = None

    @property
    def end_began_at(self) -> float:
        return min(at for at in (self.halted_at, self.cancelled_at) if at is not None)

    def stop(self) -> None:
        if self.halted_at is None:
            self.halted_at = anyio.current_time()
        super().stop()


def tree_of(chosen: list[Plan], diary: Diary, *, budget: int, dependencies: bool) -> Watched:
    names = [f"child{i}" for i in range(len(chosen))]
    specs = []
    for i, plan in enumerate(chosen):
        permanent = {
            n for n in plan.dependencies if n < i and chosen[n].restart is Restart.PERMANENT
        }
        legal = Plan(
            plan.restart,
            plan.shutdown_seconds,
            frozenset(permanent) if dependencies else frozenset(),
            plan.runs,
        )
        specs.append(
            ChildSpec(
                name=names[i],
                start=start_of(legal, diary, names),
                restart=plan.restart,
                shutdown_seconds=plan.shutdown_seconds,
                depends_on=tuple(names[n] for n in legal.dependencies),
            )
        )
    return Watched(
        specs,
        restarts=budget,
        window_seconds=WINDOW_SECONDS,
        start_timeout_seconds=START_SECONDS,
        stable_after_seconds=3,
        random=lambda: 0.5,
    )


async def run_until(tree: Watched, how: str, at: float) -> BaseException | None:
    """Run the tree, end it in the given way unless it ended before, and return its exception."""
    task = asyncio.create_task(tree.run())
    await asyncio.wait([task], timeout=at)
    if not task.done():
        if how == "stop":
            tree.stop()
        else:
            tree.cancelled_at = anyio.current_time()
            task.cancel()
    await asyncio.wait([task])
    return CancelledError() if task.cancelled() else task.exception()


async def check_ready(tree: Watched, diary: Diary) -> None:
    await tree.ready.wait()
    for child in tree.snapshot():
        assert child.name in diary.been_ready or child.state in {
            ChildState.STOPPED,
            ChildState.FAILED,
        }


@given(
    chosen=st.lists(plans, min_size=1, max_size=5),
    budget=st.integers(0, 6),
    dependencies=st.booleans(),
    how=st.sampled_from(["stop", "cancel"]),
    at=st.integers(0, 80).map(float),
)
@settings(max_examples=trials(150))
@on_virtual_time
async def test_random_trees_keep_order_budget_and_timeouts(
    chosen: list[Plan], budget: int, dependencies: bool, how: str, at: float
) -> None:
    diary = Diary()
    tree = tree_of(chosen, diary, budget=budget, dependencies=dependencies)
    with capture_logs() as logs:
        watcher = asyncio.create_task(check_ready(tree, diary))
        outcome = await run_until(tree, how, at)
        ended_at = anyio.current_time()
        if not tree.ready.is_set():
            watcher.cancel()
        await asyncio.wait([watcher])
    assert watcher.cancelled() or watcher.exception() is None
    event(f"{how}: {type(outcome).__name__}, ready: {tree.ready.is_set()}")
    assert {child.state for child in tree.snapshot()} <= {ChildState.STOPPED, ChildState.FAILED}
    assert isinstance(outcome, NoneType | CancelledError | RestartBudgetExceeded | FatalError)
    assert isinstance(outcome, CancelledError) is (tree.cancelled_at is not None)
    assert not [entry for entry in logs if entry["event"] == "supervisor.child_stuck"]
    ended_within_the_allowances(tree, chosen, ended_at)
    budget_was_kept(tree, chosen, diary, budget, outcome)
    if not dependencies:
        stopped_in_reverse_order(tree, diary)


@given(runs=st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 3.0, 40.0])), max_size=6))
@settings(deadline=None)
@on_virtual_time
async def test_dependents_restart_after_any_number_of_failures(
    runs: list[tuple[bool, float]],
) -> None:
    left = iter(runs)

    async def stumbling(child: ChildHandle) -> None:
        ready, ends_after = next(left, (True, None))
        if ready:
            child.ready()
        if ends_after is not None:
            await anyio.sleep(ends_after)
            raise ValueError
        await steady(child)

    async def steady(child: ChildHandle) -> None:
        child.ready()
        await child.stopping.wait()

    tree = Supervisor(
        [
            ChildSpec(name="a", start=stumbling),
            ChildSpec(name="b", start=steady, depends_on=("a",)),
            ChildSpec(name="c", start=steady, depends_on=("b",)),
        ],
        restarts=6,
    )
    with capture_logs():
        async with anyio.create_task_group() as group:
            group.start_soon(tree.run)
            await anyio.sleep(600)
            assert [child.state for child in tree.snapshot()] == [ChildState.RUNNING] * 3
            tree.stop()


def ended_within_the_allowances(tree: Watched, chosen: list[Plan], ended_at: float) -> None:
    """Check that each child had ``shutdown_seconds`` after the request and again after the cancellation."""
    allowed = sum(plan.shutdown_seconds for plan in chosen)
    if tree.cancelled_at is not None:
        assert ended_at - tree.cancelled_at <= allowed + SLACK
    else:
        assert ended_at - tree.end_began_at <= 2 * allowed + SLACK


def stopped_in_reverse_order(tree: Watched, diary: Diary) -> None:
    asked = [name for name, at, asked in diary.ends if asked and at >= tree.end_began_at]
    assert asked == sorted(asked, reverse=True)


def budget_was_kept(
    tree: Watched, chosen: list[Plan], diary: Diary, budget: int, outcome: BaseException | None
) -> None:
    """Check that no window holds more restarts than the budget, and that the escalation found it spent."""
    end = tree.end_began_at
    kinds = {f"child{i}": plan.restart for i, plan in enumerate(chosen)}
    failed = [(kinds[name], at) for name, at, asked in diary.ends if not asked and at <= end]
    if isinstance(outcome, RestartBudgetExceeded):
        may_cost = [at for kind, at in failed if kind is not Restart.TEMPORARY]
        assert sum(end - WINDOW_SECONDS <= at for at in may_cost) > budget
    forgiven = [at for kind, at in failed if kind is Restart.PERMANENT and at < end]
    for last in forgiven:
        assert sum(last - WINDOW_SECONDS <= at <= last for at in forgiven) <= budget


@given(steps=st.lists(st.integers(0, 12), max_size=60), restarts=st.integers(0, 5))
def test_no_window_holds_more_restarts_than_the_budget(steps: list[int], restarts: int) -> None:
    now = 0
    budget = RestartBudget(restarts=restarts, window_seconds=10, clock=lambda: now)
    spent: list[int] = []
    for step in steps:
        now += step
        in_window = sum(now - 10 <= at for at in spent)
        assert budget.left == restarts - in_window
        assert budget.try_consume() is (in_window < restarts)
        if in_window < restarts:
            spent.append(now)
