"""The clock of local lease deadlines."""

import time


def boottime() -> float:
    """Return seconds on a clock that also runs while the machine is suspended.

    A lease must not outlive a suspended laptop or a paused virtual machine: PostgreSQL's clock has gone on,
    and another worker may have the chat.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
