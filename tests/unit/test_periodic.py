"""Periodic loop: intervals, wakes, outages and its end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.virtual_clock import on_virtual_time

from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage
from chatd.supervision.periodic import Periodic


class Steps:
    """Step that takes a given time, and returns or raises what its script lists."""

    def __init__(self, *script: object, takes: float = 0.0) -> None:
        self.at: list[float] = []
        self._script = list(script)
        self._takes = takes

    async def __call__(self) -> object:
        self.at.append(anyio.current_time())
        await anyio.sleep(self._takes)
        outcome = self._script.pop(0) if self._script else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def periodic(step: Callable[[], Awaitable[object]], **options: Any) -> Periodic:
    defaults: dict[str, Any] = {
        "interval_seconds": 10,
        "expected_errors": (ConnectionError,),
        "jitter": 0.0,
        "random": lambda: 0.0,
    }
    return Periodic(step, **(defaults | options))


@asynccontextmanager
async def running(loop: Periodic, child: ChildHandle) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(loop.run, child)
        yield
        child.stopping.set()


@on_virtual_time
async def test_step_runs_at_once_then_each_interval_and_is_ready_after_the_first() -> None:
    step = Steps(takes=1)
    ready_at: list[float] = []
    child = ChildHandle("reaper", on_ready=lambda: ready_at.append(anyio.current_time()))
    async with running(periodic(step), child):
        await anyio.sleep(25)
    assert step.at == [0, 11, 22]
    assert ready_at == [1]


@on_virtual_time
async def test_jitter_only_shortens_the_interval() -> None:
    step = Steps()
    async with running(periodic(step, jitter=0.5, random=lambda: 1.0), ChildHandle("reaper")):
        await anyio.sleep(11)
    assert step.at == [0, 5, 10]


@on_virtual_time
async def test_step_that_returns_true_is_followed_at_once() -> None:
    step = Steps(3, 1, 0)
    async with running(periodic(step), ChildHandle("claimer")):
        await anyio.sleep(11)
    assert step.at == [0, 0, 0, 10]


@on_virtual_time
async def test_step_that_never_waits_does_not_starve_other_tasks() -> None:
    steps = 0

    async def greedy() -> bool:
        nonlocal steps
        steps += 1
        return True

    async with running(periodic(greedy), ChildHandle("claimer")):
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
    assert 5 < steps < 20


@on_virtual_time
async def test_many_wakes_start_one_step() -> None:
    step = Steps()
    loop = periodic(step)
    async with running(loop, ChildHandle("claimer")):
        await anyio.sleep(3)
        loop.wake()
        loop.wake()
        await anyio.sleep(1)
    assert step.at == [0, 3]


@on_virtual_time
async def test_wake_during_a_step_starts_another_one_after_it() -> None:
    step = Steps(takes=2)
    loop = periodic(step)
    async with running(loop, ChildHandle("claimer")):
        await anyio.sleep(1)
        loop.wake()
        await anyio.sleep(4)
    assert step.at == [0, 2]


@given(wakes=st.lists(st.integers(0, 40), max_size=12), takes=st.integers(0, 5))
@on_virtual_time
async def test_every_wake_is_followed_by_a_step(wakes: list[int], takes: int) -> None:
    step = Steps(takes=takes)
    loop = periodic(step, interval_seconds=1000)
    async with running(loop, ChildHandle("claimer")):
        for at in sorted(wakes):
            await anyio.sleep_until(at + 0.5)
            loop.wake()
        await anyio.sleep(20)
    for at in wakes:
        assert any(at + 0.5 <= began <= at + 0.5 + takes for began in step.at)


@on_virtual_time
async def test_outage_is_waited_out_with_backoff_and_logged_once() -> None:
    failures = [ConnectionError("refused") for _ in range(8)]
    step = Steps(*failures)
    child = ChildHandle("reaper")
    with capture_logs() as logs:
        async with running(periodic(step), child):
            await anyio.sleep(0.15)  # ready once the first wait is over
            assert child.is_ready
            assert child.status_note == "outage: ConnectionError: refused"
            await anyio.sleep(20)
            assert child.status_note == ""
    gaps = [round(b - a, 3) for a, b in pairwise(step.at)]
    assert gaps == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    began, ended = logs
    assert (began["event"], began["child"]) == ("outage.began", "reaper")
    assert began["error"] == "ConnectionError: refused"
    assert (ended["event"], round(ended["seconds"], 3)) == ("outage.ended", 16.3)


@on_virtual_time
async def test_next_outage_starts_its_backoff_over_and_is_logged_again() -> None:
    step = Steps(ConnectionError(), ConnectionError(), None, ConnectionError())
    with capture_logs() as logs:
        async with running(periodic(step), ChildHandle("reaper")):
            await anyio.sleep(12)
    assert [round(at, 3) for at in step.at] == [0, 0.1, 0.3, 10.3, 10.4]
    assert [entry["event"] for entry in logs] == ["outage.began", "outage.ended"] * 2


@on_virtual_time
async def test_stop_request_ends_the_wait_in_an_outage() -> None:
    step = Steps(*(ConnectionError() for _ in range(100)))
    child = ChildHandle("reaper")
    with capture_logs():
        async with running(periodic(step), child):
            await anyio.sleep(100)
        assert anyio.current_time() == 100


@on_virtual_time
async def test_group_of_expected_errors_is_an_outage_and_a_mixed_group_is_not() -> None:
    step = Steps(
        ExceptionGroup("all", [ConnectionError(), ConnectionResetError()]),
        ExceptionGroup("some", [ConnectionError(), KeyError()]),
    )
    with capture_logs(), pytest.raises(ExceptionGroup, match="some"):
        await periodic(step).run(ChildHandle("reaper"))


@on_virtual_time
async def test_unexpected_exception_ends_the_loop_unchanged() -> None:
    with pytest.raises(ValueError, match="bug"):
        await periodic(Steps(None, ValueError("bug"))).run(ChildHandle("reaper"))


@on_virtual_time
async def test_step_past_its_timeout_fails() -> None:
    with pytest.raises(TimeoutError):
        await periodic(Steps(takes=100), step_timeout_seconds=4).run(ChildHandle("reaper"))
    assert anyio.current_time() == 4


@on_virtual_time
async def test_running_step_finishes_before_the_loop_ends() -> None:
    step = Steps(takes=4)
    child = ChildHandle("reaper")
    async with anyio.create_task_group() as group:
        group.start_soon(periodic(step).run, child)
        await anyio.sleep(1)
        child.stopping.set()
    assert anyio.current_time() == 4


@on_virtual_time
async def test_outage_can_be_recovered_before_its_body_ends() -> None:
    child = ChildHandle("listener")
    outage = Outage(child, expected=(ConnectionError,), random=lambda: 0.0)
    with capture_logs() as logs:
        for _ in range(3):
            async with outage:
                raise ConnectionError
        async with outage:
            outage.recovered()
            assert not outage.ongoing
            await anyio.sleep(10)
            raise ConnectionError
    assert [entry["event"] for entry in logs] == ["outage.began", "outage.ended", "outage.began"]
    assert anyio.current_time() == pytest.approx(0.1 + 0.2 + 0.4 + 10 + 0.1)
