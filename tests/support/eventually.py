"""Waiting for facts rather than for time."""

from collections.abc import Callable
from typing import Any

import anyio

TIMEOUT_SECONDS = 30.0
"""Seconds after which a test that waits for a fact fails."""


async def eventually(
    probe: Callable[[], Any],
    timeout_seconds: float = TIMEOUT_SECONDS,
    *,
    describe: Callable[[], str] | None = None,
    interval_seconds: float = 0.01,
) -> Any:
    """Call ``probe`` until it returns something true, and return that."""
    try:
        with anyio.fail_after(timeout_seconds):
            while True:
                value = probe()
                if hasattr(value, "__await__"):
                    value = await value
                if value:
                    return value
                await anyio.sleep(interval_seconds)
    except TimeoutError:
        raise AssertionError(
            f"not so within {timeout_seconds} s: {describe() if describe else probe}"
        ) from None
