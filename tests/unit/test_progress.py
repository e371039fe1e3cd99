"""Stages, marks and cancel causes."""

from enum import StrEnum

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.virtual_clock import VirtualClockLoop, on_virtual_time

from chatd.supervision.progress import CancelScopeWithCause, Progress, StageTimeout


class Cause(StrEnum):
    LOST = "lost"
    SHUTDOWN = "shutdown"


@on_virtual_time
async def test_stage_past_its_deadline_raises_its_name() -> None:
    with pytest.raises(StageTimeout) as caught, Progress().stage("model call", 30):
        await anyio.sleep_forever()
    assert (caught.value.stage, caught.value.seconds) == ("model call", 30)
    assert str(caught.value) == "model call made no progress for 30 s"
    assert anyio.current_time() == 30


@on_virtual_time
@pytest.mark.parametrize(("pause", "ended"), [(9, ("attempt", 35, 35)), (11, ("silence", 10, 10))])
async def test_stage_within_another_ends_with_the_first_that_is_over(
    pause: float, ended: tuple[str, float, float]
) -> None:
    progress = Progress()

    async def stream() -> None:
        with progress.stage("silence", 10, within=("attempt", 35)) as silence:
            while True:
                await anyio.sleep(pause)
                silence.mark("delta")

    with pytest.raises(StageTimeout) as caught:
        await stream()
    assert (caught.value.stage, caught.value.seconds, anyio.current_time()) == ended
    assert progress.snapshot().stage is None


@on_virtual_time
async def test_stage_left_in_time_does_nothing() -> None:
    progress = Progress()
    with progress.stage("tool", 30):
        await anyio.sleep(29)
    await anyio.sleep(10)
    assert progress.snapshot().stage is None


@on_virtual_time
async def test_shielded_body_that_ends_late_does_not_time_out() -> None:
    with Progress().stage("tool", 10):
        with anyio.CancelScope(shield=True):
            await anyio.sleep(11)


@on_virtual_time
async def test_mark_extends_its_stage_but_not_the_outer_one() -> None:
    progress = Progress()

    async def stream() -> None:
        with progress.stage("attempt", 100), progress.stage("silence", 10) as silence:
            while True:
                await anyio.sleep(9)
                silence.mark("delta")

    with pytest.raises(StageTimeout) as caught:
        await stream()
    assert caught.value.stage == "attempt"
    assert anyio.current_time() == 100


@on_virtual_time
async def test_mark_of_the_task_extends_no_stage() -> None:
    progress = Progress()

    async def busy() -> None:
        with progress.stage("tool", 10):
            while True:
                await anyio.sleep(1)
                progress.mark("still here")

    with pytest.raises(StageTimeout):
        await busy()
    assert anyio.current_time() == 10


@on_virtual_time
async def test_exception_of_the_body_passes_unchanged() -> None:
    progress = Progress()
    with pytest.raises(TimeoutError) as caught, progress.stage("tool", 10):
        raise TimeoutError("its own")
    assert not isinstance(caught.value, StageTimeout)
    assert progress.snapshot().stage is None


@given(
    outer=st.integers(1, 6), inner=st.integers(1, 6), cancel=st.integers(1, 6), work=st.integers(1)
)
@on_virtual_time
async def test_outermost_of_the_earliest_ends_decides_the_outcome(
    outer: int, inner: int, cancel: int, work: int
) -> None:
    outcome = "done"
    scope = CancelScopeWithCause[Cause]()
    progress = Progress()
    async with anyio.create_task_group() as group:

        async def interrupt() -> None:
            await anyio.sleep(cancel)
            scope.cancel(Cause.LOST)

        group.start_soon(interrupt)
        with scope:
            try:
                with progress.stage("outer", outer), progress.stage("inner", inner):
                    await anyio.sleep(work)
            except StageTimeout as error:
                outcome = error.stage
        group.cancel_scope.cancel()
    if scope.cancelled:
        outcome = "cancelled"
    first = min(cancel, outer, inner, work)
    happened_then = {
        name
        for name, at in {"cancelled": cancel, "outer": outer, "inner": inner, "done": work}.items()
        if at == first
    }
    assert outcome in happened_then
    assert anyio.current_time() == first


@on_virtual_time
async def test_cancellation_at_the_moment_of_the_deadline_is_no_timeout() -> None:
    scope = CancelScopeWithCause[Cause]()
    with scope, Progress().stage("tool", 10):
        with anyio.CancelScope(shield=True):
            await anyio.sleep(10)
        scope.cancel(Cause.SHUTDOWN)
        await anyio.sleep_forever()
    assert scope.cancelled
    assert scope.cause is Cause.SHUTDOWN


@on_virtual_time
async def test_snapshot_has_the_innermost_stage_and_the_nearest_deadline() -> None:
    progress = Progress()
    await anyio.sleep(1)
    progress.mark("history read")
    with progress.stage("turn", 50):
        await anyio.sleep(2)
        with progress.stage("model call", 100):
            await anyio.sleep(3)
            seen = progress.snapshot()
    assert (seen.stage, seen.stage_age_seconds, seen.deadline_in_seconds) == ("model call", 3, 45)
    assert (seen.last_progress, seen.seconds_since_progress) == ("history read", 5)
    after = progress.snapshot()
    assert (after.stage, after.stage_age_seconds, after.deadline_in_seconds) == (None, 0, None)


@on_virtual_time
async def test_first_cause_wins_and_is_set_while_the_body_ends() -> None:
    scope = CancelScopeWithCause[Cause]()
    seen: list[Cause | None] = []
    async with anyio.create_task_group() as group:

        async def body() -> None:
            with scope:
                try:
                    await anyio.sleep_forever()
                finally:
                    seen.append(scope.cause)

        group.start_soon(body)
        await anyio.sleep(1)
        scope.cancel(Cause.LOST)
        scope.cancel(Cause.SHUTDOWN)
    assert seen == [Cause.LOST]
    assert scope.cancelled


@on_virtual_time
async def test_scope_cancelled_before_entry_ends_at_the_first_await() -> None:
    scope = CancelScopeWithCause[Cause]()
    scope.cancel(Cause.LOST)
    with scope:
        await anyio.sleep_forever()
    assert scope.cancelled


@on_virtual_time
async def test_outside_cancellation_has_no_cause_and_is_not_caught() -> None:
    scope = CancelScopeWithCause[Cause]()
    with anyio.move_on_after(5) as outside, scope:
        await anyio.sleep_forever()
    assert outside.cancelled_caught
    assert not scope.cancelled
    assert scope.cause is None


@on_virtual_time
async def test_marks_set_no_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    timers_set, call_at = [], VirtualClockLoop.call_at

    def count(loop: VirtualClockLoop, when: float, *args: object, **more: object) -> object:
        timers_set.append(when)
        return call_at(loop, when, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(VirtualClockLoop, "call_at", count)
    with Progress().stage("model stream", 10) as stage:
        for _ in range(1000):
            stage.mark("streaming")
    assert len(timers_set) <= 1


@on_virtual_time
async def test_stage_whose_time_was_over_at_its_begin_ends_at_the_first_await() -> None:
    with pytest.raises(StageTimeout), Progress().stage("turn", 10, elapsed_seconds=11):
        await anyio.sleep_forever()
    assert anyio.current_time() == 0
