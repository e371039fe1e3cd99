"""The one loop of every actor that polls."""

import random as _random
from collections.abc import Awaitable, Callable

import anyio
from anyio.lowlevel import checkpoint

from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage


class Periodic:
    """Calls a step at once, then every so often or when woken, until it is asked to stop.

    A step that returns something true has left work behind and is called again at once. One that
    takes longer than ``step_timeout_seconds`` fails with a ``TimeoutError``. The expected ``expected_errors`` are waited
    out; everything else ends the loop, for the supervisor to judge.

    The loop is ready after its first step, even if that met an outage: it then does all it can,
    and whether the database is there is a question for the readiness of the service, not for the
    order of the start. The outage shows in the child's note.
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

    def wake(self) -> None:
        """Have a step begin soon; one that is under way is followed by another."""
        self._woken.set()

    async def run(self, child: ChildHandle) -> None:
        outage = Outage(child, expected=self._expected_errors, random=self._random)
        while not child.stopping.is_set():
            again = True  # an outage has had its wait already
            self._woken = anyio.Event()
            async with outage:
                with anyio.fail_after(self._step_timeout_seconds):
                    again = bool(await self._step())
            child.ready()
            if again:
                await checkpoint()
            else:
                await child.pause(self._next_interval(), until=self._woken)

    def _next_interval(self) -> float:
        return self._interval_seconds * (1 - self._jitter * self._random())
