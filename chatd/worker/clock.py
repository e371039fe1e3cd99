"""The clocks of a worker: that of local lease deadlines, and that of the event loop."""

import asyncio
import time


def boottime() -> float:
    """Return seconds on a clock that also runs while the machine is suspended.

    A lease must not outlast the suspension of a machine: PostgreSQL's clock went on meanwhile, and another
    worker may have the chat.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def loop_time() -> float:
    """Return seconds on the clock of the event loop, without anyio's look-up of which loop that is."""
    return asyncio.get_running_loop().time()
