"""Dependents of a child: stopped with it, and restarted after it."""

import anyio
from structlog.testing import capture_logs
from support.supervised import Start, fails, running, serve, supervisor
from support.virtual_clock import on_virtual_time

from chatd.supervision.child import ChildHandle, ChildSpec, Restart
from chatd.supervision.child_supervisor import ChildState


@on_virtual_time
async def test_dependents_stop_with_a_failed_child_and_restart_after_it() -> None:
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
async def test_dependents_restart_after_a_child_failed_twice() -> None:
    runs = iter([(True, 1.0), (False, 1.0), (True, None)])

    async def stumbles(child: ChildHandle) -> None:
        ready, ends_after = next(runs)
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
async def test_temporary_dependent_does_not_restart() -> None:
    tree = supervisor(
        ChildSpec(name="heartbeat", start=fails(times=1)),
        ChildSpec(name="chat", start=serve, depends_on=("heartbeat",), restart=Restart.TEMPORARY),
    )
    with capture_logs():
        async with running(tree):
            await anyio.sleep(10)
            assert [c.state for c in tree.snapshot()] == [ChildState.RUNNING, ChildState.STOPPED]
