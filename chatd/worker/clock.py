"""The clock of local lease deadlines."""

import time


def boottime() -> float:
    """Return seconds on a clock that also runs while the machine is suspended.

    A lease must not outlast the suspension of a machine: PostgreSQL's clock went on meanwhile, and another
    worker may have the chat.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
