"""Restarts: rules, budget, backoff and escalation, one example each."""

import asyncio
from itertools import pairwise

import anyio
import pytest
from structlog.testing import capture_logs
from support.supervised import Start, events, fails, running, serve, supervisor
from support.virtual_clock import on_virtual_time

from chatd.supervision.child import ChildHandle, ChildSpec, FatalError, Restart, StopRequest
from chatd.supervision.child_supervisor import ChildState
from chatd.supervision.outage import Outage
from chatd.supervision.restart_budget import RestartBudgetExceeded


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
def test_restart_rules(restart: Restart, start: Start, state: ChildState, restarts: int) -> None:
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
async def test_failure_during_the_start_delays_the_next_child() -> None:
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
async def test_child_not_ready_in_time_fails() -> None:
    async def never_ready(_: ChildHandle) -> None:
        await anyio.sleep_forever()

    tree = supervisor(ChildSpec(name="a", start=never_ready), restarts=0, start_timeout_seconds=9)
    with capture_logs(), pytest.raises(RestartBudgetExceeded) as caught:
        await tree.run()
    assert anyio.current_time() == 9
    assert str(caught.value.__cause__) == "not ready after 9 s"


@on_virtual_time
async def test_ready_child_has_no_start_timeout() -> None:
    tree = supervisor(ChildSpec(name="a", start=serve), start_timeout_seconds=9)
    with capture_logs():
        async with running(tree):
            await anyio.sleep(3600)
            assert tree.snapshot()[0].since == 0


@on_virtual_time
async def test_child_that_awaits_a_cancelled_future_fails() -> None:
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
async def test_spent_budget_stops_the_tree_in_reverse_order_and_raises() -> None:
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
    assert str(error.__cause__) == "run 3"
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
async def test_restart_budget_is_a_sliding_window() -> None:
    tree = supervisor(ChildSpec(name="a", start=fails(after=31)), restarts=2)
    with capture_logs():
        async with running(tree):
            await anyio.sleep(3600)
            assert tree.snapshot()[0].restarts > 100


@on_virtual_time
async def test_child_budget_is_separate_from_the_shared_one() -> None:
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
async def test_fatal_error_in_a_group_escalates_without_a_restart() -> None:
    async def misconfigured(_: ChildHandle) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            raise FatalError("no such key")

    tree = supervisor(
        ChildSpec(name="a", start=serve), ChildSpec(name="b", start=misconfigured), restarts=100
    )
    with capture_logs() as logs, pytest.raises(FatalError, match="no such key"):
        await tree.run()
    assert events(logs) == ["stopping"], "its caller reports it, once"
    assert tree.snapshot()[1].last_error == "FatalError: no such key"


@on_virtual_time
async def test_failure_beside_a_fatal_error_is_logged() -> None:
    async def misconfigured(_: ChildHandle) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            raise FatalError("no such key")

    async def fail() -> None:
        raise RuntimeError("a bug")

    tree = supervisor(ChildSpec(name="a", start=misconfigured))
    with capture_logs() as logs, pytest.raises(FatalError, match="no such key"):
        await tree.run()
    assert events(logs) == ["child_failed", "stopping"]


@on_virtual_time
async def test_backoff_doubles_to_its_limit_and_resets_after_a_stable_run() -> None:
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
        stable_after_seconds=30,
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(50)
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps == [1 + 1, 1 + 2, 1 + 4, 1 + 4, 30 + 1, 1 + 2]


@on_virtual_time
async def test_child_that_is_not_essential_never_ends_the_tree() -> None:
    """It fails before it is ready, time and again. The next child starts, and the tree lives on."""
    tree = supervisor(
        ChildSpec(name="optional", start=fails(after=0, ready=False), essential=False, restarts=2),
        ChildSpec(name="needed", start=serve),
        window_seconds=60,
    )
    with capture_logs() as logs:
        async with running(tree):
            await tree.ready.wait()
            await anyio.sleep(59)
            optional, needed = tree.snapshot()
            assert (optional.state, optional.restarts) == (ChildState.BACKING_OFF, 2)
            assert (needed.state, needed.budget_left) == (ChildState.RUNNING, 5)
            await anyio.sleep(3)
            assert tree.snapshot()[0].restarts > 2, "tried again after the window"
    assert "child_suspended" in events(logs)
    assert "escalated" not in events(logs)


@on_virtual_time
async def test_outage_during_the_start_consumes_no_budget() -> None:
    async def waits_for_a_database(child: ChildHandle) -> None:
        outage = Outage(child, expected=(OSError,))
        while not child.is_ready:
            async with outage:
                if anyio.current_time() < 300:
                    raise OSError
                await anyio.sleep(29)  # the whole time again, after the outage
                child.ready()
        await child.stopping.wait()

    tree = supervisor(ChildSpec(name="a", start=waits_for_a_database), start_timeout_seconds=30)
    with capture_logs() as logs:
        async with running(tree):
            await tree.ready.wait()
            assert anyio.current_time() > 300
            assert tree.snapshot()[0].budget_left == 5
    assert "child_failed" not in events(logs)


@on_virtual_time
async def test_stop_request_cancels_what_runs_under_it() -> None:
    request = StopRequest()
    reached = []
    async with anyio.create_task_group() as group:

        async def connect() -> None:
            for _ in range(2):  # the second time it is requested already
                with request.cancels() as scope:
                    await anyio.sleep_forever()
                reached.append(scope.cancelled_caught)

        group.start_soon(connect)
        await anyio.sleep(1)
        request.set()
    assert reached == [True, True]
