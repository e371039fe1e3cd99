"""What each kind of end of a child does to the tree, one example each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs
from support.virtual_clock import on_virtual_time

from chatd.supervision.child import ChildHandle, ChildSpec, FatalError, Restart
from chatd.supervision.child_supervisor import ChildState
from chatd.supervision.restart_budget import RestartBudgetExceeded
from chatd.supervision.supervisor import Supervisor

Start = Callable[[ChildHandle], Awaitable[None]]


async def serve(child: ChildHandle) -> None:
    child.ready()
    await child.stopping.wait()


def fails(*, after: float = 1.0, times: int | None = None, ready: bool = True) -> Start:
    """A child that raises after a while, the first so many times, and then serves."""
    lives = 0

    async def start(child: ChildHandle) -> None:
        nonlocal lives
        lives += 1
        if ready:
            child.ready()
        if times is None or lives <= times:
            await anyio.sleep(after)
            raise ValueError(f"life {lives}")
        await serve(child)

    return start


def supervisor(*children: ChildSpec, **options: Any) -> Supervisor:
    return Supervisor(children, random=lambda: 0.0, **options)


@asynccontextmanager
async def running(tree: Supervisor) -> AsyncIterator[None]:
    """Run the tree around the body, and stop it at the end."""
    async with anyio.create_task_group() as group:
        group.start_soon(tree.run)
        yield
        tree.stop()


def events(logs: list[Any]) -> list[str]:
    return [entry["event"].removeprefix("supervisor.") for entry in logs]


@on_virtual_time
async def test_children_start_in_order_each_once_the_one_before_is_ready() -> None:
    started: list[tuple[str, float]] = []

    async def slow(child: ChildHandle) -> None:
        started.append((child.name, anyio.current_time()))
        await anyio.sleep(2)
        await serve(child)

    tree = supervisor(*(ChildSpec(name=name, start=slow) for name in "abc"))
    async with running(tree):
        await tree.ready.wait()
        assert anyio.current_time() == 6
    assert started == [("a", 0), ("b", 2), ("c", 4)]


@on_virtual_time
async def test_children_stop_in_reverse_order_asked_then_waited_for_then_cancelled() -> None:
    ended: list[tuple[str, float]] = []

    def ends(seconds: float) -> Start:
        async def start(child: ChildHandle) -> None:
            await serve(child)
            try:
                await anyio.sleep(seconds)
            finally:
                ended.append((child.name, anyio.current_time()))

        return start

    tree = supervisor(
        ChildSpec(name="prompt", start=ends(0)),
        ChildSpec(name="deaf", start=ends(1000), shutdown_seconds=7),
        ChildSpec(name="slow", start=ends(3)),
    )
    with capture_logs():
        async with running(tree):
            await tree.ready.wait()
    assert ended == [("slow", 3), ("deaf", 10), ("prompt", 10)]


@on_virtual_time
async def test_a_tree_can_be_stopped_before_it_is_ready() -> None:
    async def never_ready(_: ChildHandle) -> None:
        await anyio.sleep_forever()

    tree = supervisor(ChildSpec(name="a", start=never_ready), ChildSpec(name="b", start=serve))
    with capture_logs():
        tree.stop()
        tree.stop()
        await tree.run()
    assert not tree.ready.is_set()
    assert [child.state for child in tree.snapshot()] == [ChildState.STOPPED, ChildState.STOPPED]


@on_virtual_time
async def test_a_tree_without_children_is_ready_and_waits_for_the_stop() -> None:
    tree = supervisor()
    assert tree.ready.is_set()
    with capture_logs():
        async with running(tree):
            await anyio.sleep(1)


async def returns(child: ChildHandle) -> None:
    child.ready()
    await anyio.sleep(1)


@pytest.mark.parametrize(
    ("restart", "start", "state", "restarts"),
    [
        (Restart.PERMANENT, fails(times=2), ChildState.RUNNING, 2),
        (Restart.PERMANENT, returns, ChildState.BACKING_OFF, 3),
        (Restart.TRANSIENT, fails(times=2), ChildState.RUNNING, 2),
        (Restart.TRANSIENT, returns, ChildState.STOPPED, 0),
        (Restart.TEMPORARY, fails(), ChildState.FAILED, 0),
        (Restart.TEMPORARY, returns, ChildState.STOPPED, 0),
    ],
)
def test_each_restart_kind(
    restart: Restart, start: Start, state: ChildState, restarts: int
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        tree = supervisor(ChildSpec(name="a", start=start, restart=restart))
        with capture_logs():
            async with running(tree):
                await anyio.sleep(5)
                [child] = tree.snapshot()
                assert (child.state, child.restarts) == (state, restarts)
                assert child.budget_left == 5 - restarts - (state is ChildState.BACKING_OFF)

    scenario()


@on_virtual_time
async def test_a_one_shot_child_lets_the_next_one_start_when_it_has_returned() -> None:
    async def migrate(_: ChildHandle) -> None:
        await anyio.sleep(1)

    tree = supervisor(
        ChildSpec(name="migrate", start=migrate, restart=Restart.TRANSIENT),
        ChildSpec(name="serve", start=serve),
    )
    with capture_logs():
        async with running(tree):
            await tree.ready.wait()
            assert anyio.current_time() == 1


@on_virtual_time
async def test_a_failure_during_the_ordered_start_costs_a_restart_and_delays_the_next() -> None:
    tree = supervisor(
        ChildSpec(name="a", start=fails(times=1, ready=False)),
        ChildSpec(name="b", start=serve),
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(0.5)
            assert [c.state for c in tree.snapshot()] == [ChildState.STARTING, ChildState.WAITING]
            tree.stop()  # not ready yet, and does not hang


@on_virtual_time
async def test_a_child_that_is_not_ready_in_time_has_failed() -> None:
    async def never_ready(_: ChildHandle) -> None:
        await anyio.sleep_forever()

    tree = supervisor(ChildSpec(name="a", start=never_ready), restarts=0, start_seconds=9)
    with capture_logs(), pytest.raises(RestartBudgetExceeded) as caught:
        await tree.run()
    assert anyio.current_time() == 9
    assert str(caught.value.__cause__) == "not ready after 9 s"


@on_virtual_time
async def test_a_child_that_was_ready_in_time_may_go_on_for_ever() -> None:
    tree = supervisor(ChildSpec(name="a", start=serve), start_seconds=9)
    with capture_logs():
        async with running(tree):
            await anyio.sleep(3600)
            assert tree.snapshot()[0].since == 0


@on_virtual_time
async def test_a_child_that_awaits_something_cancelled_has_failed() -> None:
    async def awaits_the_cancelled(child: ChildHandle) -> None:
        child.ready()
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    tree = supervisor(ChildSpec(name="a", start=awaits_the_cancelled), restarts=0)
    with capture_logs(), pytest.raises(RestartBudgetExceeded) as caught:
        await tree.run()
    assert str(caught.value.__cause__) == "cancelled itself"


@on_virtual_time
async def test_a_spent_budget_stops_the_tree_in_reverse_order_and_raises() -> None:
    ended: list[str] = []

    async def bystander(child: ChildHandle) -> None:
        await serve(child)
        ended.append(child.name)

    tree = supervisor(
        ChildSpec(name="a", start=bystander),
        ChildSpec(name="bad", start=fails()),
        ChildSpec(name="c", start=bystander),
        restarts=2,
    )
    with capture_logs() as logs, pytest.raises(RestartBudgetExceeded) as caught:
        await tree.run()
    error = caught.value
    assert (error.child, error.restarts, error.window_seconds) == ("bad", 2, 60)
    assert str(error.__cause__) == "life 3"
    assert ended == ["c", "a"]
    assert [c.state for c in tree.snapshot()] == [
        ChildState.STOPPED,
        ChildState.FAILED,
        ChildState.STOPPED,
    ]
    failed_and_restarted = ["child_failed", "child_restarted"]
    assert events(logs) == [*failed_and_restarted * 2, "child_failed", "escalated", "stopping"]
    assert logs[0]["child"] == "bad"
    assert isinstance(logs[0]["exc_info"], ValueError)


@on_virtual_time
async def test_the_budget_is_a_sliding_window() -> None:
    tree = supervisor(ChildSpec(name="a", start=fails(after=31)), restarts=2)
    with capture_logs():
        async with running(tree):
            await anyio.sleep(3600)
            assert tree.snapshot()[0].restarts > 100


@on_virtual_time
async def test_a_child_may_have_a_budget_of_its_own() -> None:
    tree = supervisor(
        ChildSpec(name="a", start=fails(times=3), restarts=3),
        ChildSpec(name="b", start=serve),
        restarts=1,
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(10)
            assert [c.budget_left for c in tree.snapshot()] == [0, 1]


@on_virtual_time
async def test_fatal_escalates_at_once_also_from_within_a_group() -> None:
    async def misconfigured(_: ChildHandle) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            raise FatalError("no such key")

    tree = supervisor(
        ChildSpec(name="a", start=serve), ChildSpec(name="b", start=misconfigured), restarts=100
    )
    with capture_logs() as logs, pytest.raises(FatalError, match="no such key"):
        await tree.run()
    assert "child_restarted" not in events(logs)
    assert tree.snapshot()[1].last_error == "Fatal: no such key"


@on_virtual_time
async def test_the_backoff_doubles_to_its_limit_and_starts_over_after_calm() -> None:
    starts: list[float] = []
    lasts = iter([1, 1, 1, 1, 30, 1])

    async def start(child: ChildHandle) -> None:
        starts.append(anyio.current_time())
        child.ready()
        await anyio.sleep(next(lasts))
        raise ValueError

    tree = supervisor(
        ChildSpec(name="a", start=start),
        restarts=100,
        backoff_seconds=1,
        backoff_max_seconds=4,
        calm_seconds=30,
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(50)
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps == [1 + 1, 1 + 2, 1 + 4, 1 + 4, 30 + 1, 1 + 2]


@on_virtual_time
async def test_a_child_takes_down_those_that_need_it_and_they_come_back_after_it() -> None:
    seen: list[str] = []

    def noting(start: Start) -> Start:
        async def noted(child: ChildHandle) -> None:
            seen.append(f"+{child.name}")
            try:
                await start(child)
            finally:
                seen.append(f"-{child.name}")

        return noted

    tree = supervisor(
        ChildSpec(name="heartbeat", start=noting(fails(times=1))),
        ChildSpec(name="chats", start=noting(serve), depends_on=("heartbeat",)),
        ChildSpec(name="reaper", start=noting(serve)),
        ChildSpec(name="claimer", start=noting(serve), depends_on=("chats",)),
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(10)
            assert "".join(seen) == (
                "+heartbeat+chats+reaper+claimer-heartbeat-claimer-chats+heartbeat+chats+claimer"
            )
            assert [c.restarts for c in tree.snapshot()] == [1, 0, 0, 0]


@on_virtual_time
async def test_they_come_back_too_when_it_failed_again_before_it_was_ready() -> None:
    lives = iter([(True, 1.0), (False, 1.0), (True, None)])

    async def stumbles(child: ChildHandle) -> None:
        ready, ends_after = next(lives)
        if ready:
            child.ready()
        if ends_after is None:
            await serve(child)
            return
        await anyio.sleep(ends_after)
        raise ValueError

    tree = supervisor(
        ChildSpec(name="heartbeat", start=stumbles),
        ChildSpec(name="chats", start=serve, depends_on=("heartbeat",)),
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(20)
            assert [c.state for c in tree.snapshot()] == [ChildState.RUNNING, ChildState.RUNNING]


@on_virtual_time
async def test_a_temporary_child_that_was_taken_down_does_not_come_back() -> None:
    tree = supervisor(
        ChildSpec(name="heartbeat", start=fails(times=1)),
        ChildSpec(name="chat", start=serve, depends_on=("heartbeat",), restart=Restart.TEMPORARY),
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(10)
            assert [c.state for c in tree.snapshot()] == [ChildState.RUNNING, ChildState.STOPPED]


@pytest.mark.parametrize(
    "children",
    [
        [ChildSpec(name="a", start=serve), ChildSpec(name="a", start=serve)],
        [ChildSpec(name="a", start=serve, depends_on=("b",)), ChildSpec(name="b", start=serve)],
        [
            ChildSpec(name="a", start=serve, restart=Restart.TEMPORARY),
            ChildSpec(name="b", start=serve, depends_on=("a",)),
        ],
    ],
    ids=["same name", "needs a later one", "needs what may end"],
)
def test_a_tree_that_makes_no_sense_is_refused(children: list[ChildSpec]) -> None:
    with pytest.raises(ValueError, match=r"two children|no earlier permanent"):
        Supervisor(children)


@on_virtual_time
async def test_a_child_is_still_supervised_until_its_own_turn_to_stop() -> None:
    async def draining(child: ChildHandle) -> None:
        await serve(child)
        await anyio.sleep(4)

    tree = supervisor(
        ChildSpec(name="heartbeat", start=fails(after=2, times=1)),
        ChildSpec(name="chats", start=draining),
    )
    with capture_logs() as logs:
        async with running(tree):
            await tree.ready.wait()
    assert events(logs) == ["stopping", "child_failed", "child_restarted"]


@on_virtual_time
async def test_a_budget_spent_during_an_orderly_stop_does_not_turn_it_into_a_failure() -> None:
    async def draining(child: ChildHandle) -> None:
        await serve(child)
        await anyio.sleep(4)

    tree = supervisor(
        ChildSpec(name="bad", start=fails(after=2)),
        ChildSpec(name="chats", start=draining),
        restarts=0,
    )
    with capture_logs() as logs:
        async with running(tree):
            await tree.ready.wait()
    assert events(logs) == ["stopping", "child_failed"]
    assert [c.state for c in tree.snapshot()] == [ChildState.FAILED, ChildState.STOPPED]


@on_virtual_time
async def test_a_crash_while_stopping_is_logged_and_the_stop_goes_on() -> None:
    async def crashes_in_cleanup(child: ChildHandle) -> None:
        await serve(child)
        raise OSError("disk full")

    tree = supervisor(
        ChildSpec(name="a", start=serve), ChildSpec(name="b", start=crashes_in_cleanup)
    )
    with capture_logs() as logs:
        async with running(tree):
            await tree.ready.wait()
    assert events(logs) == ["stopping", "child_failed"]
    assert logs[1]["stopping"]
    assert tree.snapshot()[1].last_error == "OSError: disk full"


@on_virtual_time
async def test_cancelling_run_cancels_children_in_reverse_order_also_during_a_polite_stop() -> None:
    ended: list[tuple[str, float]] = []

    async def deaf(child: ChildHandle) -> None:
        child.ready()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            ended.append((child.name, anyio.current_time()))

    tree = supervisor(*(ChildSpec(name=n, start=deaf, shutdown_seconds=50) for n in "abc"))
    with capture_logs(), anyio.CancelScope() as scope:
        async with running(tree):
            await anyio.sleep(5)
            tree.stop()
            await anyio.sleep(5)
            scope.cancel()
    assert scope.cancelled_caught
    assert ended == [("c", 11), ("b", 12), ("a", 13)]


async def slow_to_clean_up(child: ChildHandle) -> None:
    child.ready()
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(10)


@on_virtual_time
async def test_a_second_native_cancel_gives_up_the_order_but_ends_all() -> None:
    tree = supervisor(
        *(ChildSpec(name=n, start=slow_to_clean_up, shutdown_seconds=50) for n in "abc")
    )
    run = asyncio.create_task(tree.run())
    await tree.ready.wait()
    run.cancel()
    await anyio.sleep(5)
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled()
    assert anyio.current_time() == 15


@on_virtual_time
async def test_the_end_of_the_event_loop_is_no_failure_of_a_child() -> None:
    tree = supervisor(ChildSpec(name="a", start=serve))
    with capture_logs() as logs:
        run = asyncio.create_task(tree.run())
        await tree.ready.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # as asyncio.run does with what is left
        await asyncio.wait([run])
    assert run.cancelled()
    assert logs == []


@on_virtual_time
async def test_a_stuck_child_is_reported_and_does_not_keep_the_others_from_stopping() -> None:
    async def stuck(child: ChildHandle) -> None:
        with anyio.CancelScope(shield=True):
            child.ready()
            await anyio.sleep(1000)

    ended: list[float] = []

    async def first(child: ChildHandle) -> None:
        await serve(child)
        ended.append(anyio.current_time())

    tree = supervisor(ChildSpec(name="first", start=first), ChildSpec(name="stuck", start=stuck))
    with capture_logs() as logs:
        async with running(tree):
            await tree.ready.wait()
    assert events(logs) == ["stopping", "child_stuck"]
    assert ended == [10]
    assert anyio.current_time() == 1000


@on_virtual_time
async def test_the_snapshot_tells_state_since_error_and_note() -> None:
    async def notes(child: ChildHandle) -> None:
        child.status_note = "3 chats"
        await serve(child)

    tree = supervisor(
        ChildSpec(name="a", start=fails(after=3, times=1)), ChildSpec(name="b", start=notes)
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(5)
            a, b = tree.snapshot()
    assert (a.name, a.state, a.since, a.restarts) == ("a", ChildState.RUNNING, 3.1, 1)
    assert (a.budget_left, a.last_error, a.status_note) == (4, "ValueError: life 1", "")
    assert (b.name, b.since, b.last_error, b.status_note) == ("b", 0, None, "3 chats")
