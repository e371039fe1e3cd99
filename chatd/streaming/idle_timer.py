"""The timer of a stream's keep-alives: one for each stream, set anew only when it fires.

An event costs one number, and an idle stream one timer. The benchmark ``memory`` watches it.
"""

import asyncio
from collections.abc import Callable
from typing import Self


class IdleTimer:
    """Timer that calls ``wake`` once nothing was sent for ``seconds``.

    ``restart`` writes a number. A timer that fires too early for it waits for the rest.
    """

    __slots__ = ("_handle", "_loop", "_restarted_at", "_seconds", "_wake", "is_due")

    def __init__(self, wake: Callable[[], None], *, seconds: float) -> None:
        self._wake = wake
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self.restart()

    def __enter__(self) -> Self:
        self._set()
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def restart(self) -> None:
        """Count from now on."""
        self._restarted_at = self._loop.time()
        self.is_due = False

    def _set(self) -> None:
        self._handle = self._loop.call_at(self._restarted_at + self._seconds, self._fire)

    def _fire(self) -> None:
        if self._loop.time() >= self._restarted_at + self._seconds:
            self.is_due = True
            self._restarted_at = self._loop.time()
            self._wake()
        self._set()
