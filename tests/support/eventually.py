"""Waiting for facts rather than for time."""

from collections.abc import Callable
from typing import Any

import anyio

TIMEOUT_SECONDS = 30.0
"""Seconds after which a test that waits for a fact fails."""
_PAUSE_SHARE = 0.1
"""Pause between two probes as a part of the time waited so far: a probe may be a request, and a hundred
tasks that each poll it every 10 ms keep the machine from what they wait for."""
_MAX_PAUSE_SECONDS = 0.1


async def eventually(
    probe: Callable[[], Any],
    timeout_seconds: float = TIMEOUT_SECONDS,
    *,
    describe: Callable[[], str] | None = None,
    interval_seconds: float = 0.01,
) -> Any:
    """Call ``probe`` until it returns something true, and return that.

    The pause between two calls is ``interval_seconds`` at first, and longer the longer it has waited.
    """
    started_at = anyio.current_time()
    try:
        with anyio.fail_after(timeout_seconds):
            while True:
                value = probe()
                if hasattr(value, "__await__"):
                    value = await value
                if value:
                    return value
                waited_seconds = anyio.current_time() - started_at
                longer = min(_PAUSE_SHARE * waited_seconds, _MAX_PAUSE_SECONDS)
                await anyio.sleep(max(interval_seconds, longer))
    except TimeoutError:
        raise AssertionError(
            f"not so within {timeout_seconds} s: {describe() if describe else probe}"
        ) from None
