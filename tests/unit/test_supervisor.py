"""Supervisor: order of start and stop, cancellation and snapshots, one example each."""

import asyncio

import anyio
import pytest
from structlog.testing import capture_logs
from support.supervised import Start, events, fails, running, serve, supervisor
from support.virtual_clock import on_virtual_time

from chatd.supervision.child import ChildHandle, ChildSpec, Restart
from chatd.supervision.child_supervisor import ChildState
from chatd.supervision.supervisor import Supervisor


@on_virtual_time
async def test_children_start_in_order_when_the_previous_is_ready() -> None:
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
async def test_children_stop_in_reverse_order_and_are_cancelled_when_late() -> None:
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
async def test_tree_stops_before_it_is_ready() -> None:
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
async def test_empty_tree_is_ready_and_runs_until_the_stop() -> None:
    tree = supervisor()
    assert tree.ready.is_set()
    with capture_logs():
        async with running(tree):
            await anyio.sleep(1)


@on_virtual_time
async def test_next_child_starts_when_a_transient_child_returned() -> None:
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
def test_inconsistent_specs_are_rejected(children: list[ChildSpec]) -> None:
    with pytest.raises(ValueError, match=r"two children|no earlier permanent"):
        Supervisor(children)


@on_virtual_time
async def test_child_is_restarted_until_its_own_turn_to_stop() -> None:
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
async def test_budget_spent_during_an_orderly_stop_does_not_raise() -> None:
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
async def test_exception_while_stopping_is_logged_and_the_stop_goes_on() -> None:
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
async def test_cancelled_run_cancels_children_in_reverse_order_during_a_stop() -> None:
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
async def test_second_native_cancellation_ends_all_children_at_once() -> None:
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
async def test_end_of_the_event_loop_is_no_child_failure() -> None:
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
async def test_stuck_child_is_logged_and_the_others_stop() -> None:
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
async def test_snapshot_has_state_since_error_and_note() -> None:
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
    assert (a.budget_left, a.last_error, a.status_note) == (4, "ValueError: run 1", "")
    assert (b.name, b.since, b.last_error, b.status_note) == ("b", 0, None, "3 chats")
