"""Outages: how long each try waits for the next one."""

import anyio
from support.virtual_clock import on_virtual_time

from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage


async def times_of_tries(outage: Outage, failures: list[bool]) -> list[float]:
    """Fail or succeed in turn, and return when each try began."""
    began = anyio.current_time()
    times = []
    for fails in failures:
        async with outage:
            times.append(round(anyio.current_time() - began, 3))
            if fails:
                raise OSError
    return times


@on_virtual_time
async def test_first_try_after_a_success_may_come_at_once() -> None:
    outage = Outage(
        ChildHandle("child"),
        expected=(OSError,),
        backoff_seconds=0.1,
        backoff_max_seconds=0.5,
        retry_at_once=True,
        random=lambda: 0.0,
    )
    tries = [True, True, True, True, True, False, True, True]
    assert await times_of_tries(outage, tries) == [0, 0, 0.1, 0.3, 0.7, 1.2, 1.2, 1.2]


@on_virtual_time
async def test_tries_wait_for_the_backoff() -> None:
    outage = Outage(
        ChildHandle("child"), expected=(OSError,), backoff_seconds=0.1, random=lambda: 0.0
    )
    assert await times_of_tries(outage, [True, True, False, True]) == [0, 0.1, 0.3, 0.3]
