"""The flag that a subscriber waits for.

It is set for every live part of every subscriber. ``anyio.Event`` looks up the backend each time that one
is made, and none can be cleared. The benchmark ``parts`` watches it.
"""

import asyncio


class Wakeup:
    """A flag that one task waits for. It makes a future only while a task waits."""

    __slots__ = ("_waiter", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        """True from ``set`` to ``clear``: to set it again would change nothing."""
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Have ``wait`` return, now or at its next call."""
        self.is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Have the next ``wait`` wait. Read what the flag announces after this, never before."""
        self.is_set = False

    async def wait(self) -> None:
        """Return once the flag is set."""
        if self.is_set:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
