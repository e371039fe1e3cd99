"""Calls: between the callers that wait for them and the actor that makes them."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio

from chatd.tools.tool import GivenInput, ReportProgress, ToolOutcome, ToolProgress

MAX_WAITING_CALLS: Final = 1000
"""Calls that wait for one server."""


class Call:
    """One call. The caller gives it up in no time, whatever the actor is doing."""

    def __init__(
        self,
        tool: str,
        args: Mapping[str, Any],
        *,
        given: GivenInput | None,
        on_progress: ReportProgress,
        on_abandon: Callable[["Call"], None],
    ) -> None:
        self.tool = tool
        self.args = args
        self.given = given
        self._on_progress = on_progress
        self.started = False
        self.running = False
        self.abandoned = False
        self.result: ToolOutcome | None = None
        self.scope = anyio.CancelScope()
        """Scope of the actor's task that makes the call."""
        self._on_abandon = on_abandon
        self._done = anyio.Event()

    async def wait(self, seconds: float) -> ToolOutcome | None:
        """Wait for the result, and give the call up after that. None: there was none in time."""
        try:
            with anyio.move_on_after(seconds):
                await self._done.wait()
        finally:
            self._abandon()
        return self.result

    def report(self, progress: ToolProgress) -> None:
        """Pass on what the tool reports, while there is a caller."""
        if not self._done.is_set() and not self.abandoned:
            self._on_progress(progress)

    def settle(self, result: ToolOutcome) -> None:
        """Give the caller its result. The first one counts."""
        if self.result is None:
            self.result = result
            self._done.set()

    def fail(self, text: str) -> None:
        """Give the caller an error as its result."""
        self.settle(failed(text))

    def _abandon(self) -> None:
        if self.result is None:
            self.abandoned = True
            self.scope.cancel()
            self._on_abandon(self)


class CallQueue:
    """Calls of one server that wait to be made, in the order in which they came."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def is_full(self) -> bool:
        """True if no further call may wait."""
        return len(self._calls) >= MAX_WAITING_CALLS

    def add(self, call: Call) -> None:
        """Have a call wait."""
        self._calls.append(call)

    def next(self) -> Call:
        """Return the first call, which no longer waits."""
        return self._calls.popleft()

    def remove(self, call: Call) -> None:
        """Forget a call that was given up, if it still waits."""
        if call in self._calls:
            self._calls.remove(call)

    def fail_all(self, text: str) -> None:
        """Give all callers an error."""
        while self._calls:
            self._calls.popleft().fail(text)


def failed(text: str) -> ToolOutcome:
    """Return the outcome of a call that failed, with the reason for the model."""
    return ToolOutcome(text=text, is_error=True)


def not_called(reason: str) -> str:
    """Return the reason of a call that had no effect."""
    return f"{reason}. The tool was not called."
