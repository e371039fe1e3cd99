"""Periodic loop: the loop of every actor that polls."""

import random as _random
from collections.abc import Awaitable, Callable
from math import inf

import anyio
from anyio.lowlevel import checkpoint

from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage


class Periodic:
    """Loop that calls a step at once, then every ``interval_seconds`` or when woken, until the stop.

    A step that returns something true has left work behind and is called again at once. A step that takes
    longer than ``step_timeout_seconds`` fails with a ``TimeoutError``. Exceptions in ``expected_errors``
    are waited out. All others end the loop, and the supervisor handles them.

    The loop is ready after its first step, even if that met an outage. Whether the database is available is
    a question for the readiness of the service, not for the order of the start. The outage shows in the
    child's ``status_note``.
    """

    def __init__(
        self,
        step: Callable[[], Awaitable[object]],
        *,
        interval_seconds: float,
        expected_errors: tuple[type[Exception], ...] = (),
        jitter: float = 0.1,
        step_timeout_seconds: float | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._step = step
        self._expected_errors = expected_errors
        self._interval_seconds = interval_seconds
        self._jitter = jitter
        self._step_timeout_seconds = step_timeout_seconds
        self._random = random
        self._woken = anyio.Event()
        self._pause_bound = inf

    def wake(self) -> None:
        """Call the step soon. A step that is running is followed by another."""
        self._woken.set()

    def wake_within(self, seconds: float) -> None:
        """Bound the pause after the step that calls this, because it knows when there will be work."""
        self._pause_bound = min(self._pause_bound, max(seconds, 0.0))

    async def run(self, child: ChildHandle) -> None:
        """Run the loop until ``child`` is asked to stop."""
        outage = Outage(child, expected=self._expected_errors, random=self._random)
        while not child.stopping.is_set():
            call_again = True  # after an outage too: its backoff was the wait
            self._woken, self._pause_bound = anyio.Event(), inf
            async with outage:
                with anyio.fail_after(self._step_timeout_seconds):
                    call_again = bool(await self._step())
            child.ready()
            if call_again:
                await checkpoint()
            else:
                pause = min(self._next_interval(), self._pause_bound)
                await child.pause(pause, until=self._woken)

    def _next_interval(self) -> float:
        return self._interval_seconds * (1 - self._jitter * self._random())
