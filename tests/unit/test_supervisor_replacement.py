"""Children of a supervisor that come and go while the others run."""

import anyio
from structlog.testing import capture_logs
from support.supervised import fails, running, serve, supervisor
from support.virtual_clock import on_virtual_time

from chatd.supervision.child import ChildHandle, ChildSpec
from chatd.supervision.supervisor import Supervisor


def child(name: str, ended: list[tuple[str, float]]) -> ChildSpec:
    """Return a child that records when it has ended."""

    async def run(handle: ChildHandle) -> None:
        try:
            await serve(handle)
        finally:
            ended.append((name, anyio.current_time()))

    return ChildSpec(name=name, start=run, essential=False, restarts=5)


def names(tree: Supervisor) -> list[str]:
    return [each.name for each in tree.snapshot()]


async def two_seconds() -> None:
    await anyio.sleep(2)


@on_virtual_time
async def test_child_that_comes_stops_after_the_one_it_stands_before() -> None:
    ended: list[tuple[str, float]] = []
    tree = supervisor(child("a", ended), child("b", ended))
    with capture_logs():
        async with running(tree):
            await tree.ready.wait()
            tree.replace({}, [child("new", ended)], before="b")
            assert names(tree) == ["a", "new", "b"]
            await anyio.sleep(1)
            assert {each.state.value for each in tree.snapshot()} == {"running"}
    assert [name for name, _ in ended] == ["b", "new", "a"]


@on_virtual_time
async def test_child_that_leaves_has_the_time_it_asks_for_and_its_name_is_free() -> None:
    ended: list[tuple[str, float]] = []
    tree = supervisor(child("a", ended), child("b", ended))
    with capture_logs():
        async with running(tree):
            await tree.ready.wait()
            tree.replace({"a": two_seconds}, [child("a", ended)], before="b")
            assert names(tree) == ["a", "b"]
            await anyio.sleep(1)
            assert ended == []
            await anyio.sleep(2)
            assert ended == [("a", 2)]
    assert [name for name, _ in ended] == ["a", "b", "a"]


@on_virtual_time
async def test_stop_waits_for_no_child_that_leaves() -> None:
    ended: list[tuple[str, float]] = []
    tree = supervisor(child("a", ended), child("b", ended))
    with capture_logs():
        async with running(tree):
            await tree.ready.wait()
            tree.replace({"a": anyio.sleep_forever}, [], before="b")
    assert ended == [("b", 0), ("a", 0)]


@on_virtual_time
async def test_cancellation_leaves_no_child_that_leaves() -> None:
    ended: list[tuple[str, float]] = []
    tree = supervisor(child("a", ended), child("b", ended))
    with capture_logs(), anyio.move_on_after(1) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(tree.run)
            await tree.ready.wait()
            tree.replace({"a": anyio.sleep_forever}, [], before="b")
    assert scope.cancelled_caught
    assert sorted(name for name, _ in ended) == ["a", "b"]


@on_virtual_time
async def test_child_that_comes_and_fails_ends_no_other() -> None:
    ended: list[tuple[str, float]] = []
    tree = supervisor(child("a", ended))
    failing = ChildSpec(name="new", start=fails(after=0.1), essential=False, restarts=2)
    with capture_logs():
        async with running(tree):
            await tree.ready.wait()
            tree.replace({}, [failing], before="a")
            await anyio.sleep(30)
            assert ended == []
            states = {each.name: each.restarts for each in tree.snapshot()}
            assert states == {"new": 2, "a": 0}
