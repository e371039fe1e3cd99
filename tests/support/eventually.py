"""Waiting for facts rather than for time."""

from collections.abc import Callable
from typing import Any

import anyio

TIMEOUT_SECONDS = 30.0
"""How long a test waits for a fact before it says that it will not come."""


async def eventually(
    probe: Callable[[], Any],
    timeout_seconds: float = TIMEOUT_SECONDS,
    *,
    describe: Callable[[], str] | None = None,
    interval_seconds: float = 0.01,
) -> Any:
    """Look until there is something true to see, and return it."""
    try:
        with anyio.fail_after(timeout_seconds):
            while True:
                seen = probe()
                if hasattr(seen, "__await__"):
                    seen = await seen
                if seen:
                    return seen
                await anyio.sleep(interval_seconds)
    except TimeoutError:
        raise AssertionError(
            f"not so within {timeout_seconds} s: {describe() if describe else probe}"
        ) from None
