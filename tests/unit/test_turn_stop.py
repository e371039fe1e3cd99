"""The stop of a cancelled turn: how long it may take, and that it is stored."""

from typing import Any, cast

import anyio
import pytest
from support.unit_leases import UNUSED, lease
from support.virtual_clock import on_virtual_time

from chatd.domain.errors import LeaseLost
from chatd.worker.lease import Cause, Lease
from chatd.worker.runner import Runner
from chatd.worker.turn import Turn


class SlowTurn:
    """Turn whose interrupt and release take ``seconds`` to store."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = anyio.Event()
        self.stored = False

    async def finish_interrupt(self) -> None:
        self.started.set()
        await anyio.sleep(self.seconds)
        self.stored = True

    async def release(self, *, reason: str) -> None:
        assert reason == "shutdown"
        await self.finish_interrupt()


def runner(held: Lease) -> Runner:
    services = cast("Any", type("Services", (), {"turns": None, "change_bus": None}))
    return Runner(services, held, config=UNUSED, start_task=UNUSED, draining=lambda: False)


async def stop_slowly(held: Lease, cause: Cause, *, needs: float) -> float | None:
    """Stop a turn that needs so many seconds to be stored. Return how long it took; None: lost."""
    turn, began = SlowTurn(seconds=needs), anyio.current_time()
    try:
        await runner(held)._stop(cast("Turn", turn), cause)
    except LeaseLost:
        assert not turn.stored
        return None
    assert turn.stored
    return anyio.current_time() - began


@pytest.mark.parametrize(
    ("cause", "needs", "stored"),
    [
        (Cause.INTERRUPTED, 14.5, True),
        (Cause.INTERRUPTED, 15.5, False),
        (Cause.SHUTDOWN, 4.5, True),
        (Cause.SHUTDOWN, 5.5, False),
    ],
)
def test_interrupt_has_the_rest_of_the_lease_and_a_shutdown_five_seconds(
    cause: Cause, needs: float, stored: bool
) -> None:
    """What is not stored in time is lost. Else the chat would count as running, and be answered again."""

    @on_virtual_time
    async def scenario() -> None:
        took = await stop_slowly(lease(), cause, needs=needs)
        assert took == (pytest.approx(needs) if stored else None)

    scenario()


@pytest.mark.parametrize(
    ("second", "left"), [(Cause.SHUTDOWN, 5.0), (Cause.LOST, 0.0), (Cause.INTERRUPTED, 12.0)]
)
def test_interrupt_that_is_being_stored_when_something_else_happens(
    second: Cause, left: float
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        held, ended_at = lease(), list[float]()

        async def stop() -> None:
            assert await stop_slowly(held, Cause.INTERRUPTED, needs=100) is None
            ended_at.append(anyio.current_time())

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            await anyio.sleep(3)
            held.cancel(second)
        assert ended_at == [pytest.approx(3 + left, abs=0.5)]

    scenario()


@pytest.mark.parametrize("cause", [Cause.INTERRUPTED, Cause.SHUTDOWN])
def test_stop_is_stored_although_its_task_is_cancelled(cause: Cause) -> None:
    @on_virtual_time
    async def scenario() -> None:
        turn = SlowTurn(seconds=2)
        async with anyio.create_task_group() as group:
            group.start_soon(runner(lease())._stop, cast("Turn", turn), cause)
            await turn.started.wait()
            group.cancel_scope.cancel()
        assert turn.stored

    scenario()
