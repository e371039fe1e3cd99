"""Slots by key: how much of something one key has at once, while others wait in order."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio

_RECENT_SECONDS: Final = 60.0
"""Time for which a key counts as active after its last use. People who chat pause between two messages."""


class SlotsTaken(Exception):
    """No slot of this key became free in time."""


class Slot:
    """Permission for one piece of work."""

    def __init__(self, on_release: Callable[[], None]) -> None:
        self._on_release: Callable[[], None] | None = on_release

    def release(self) -> None:
        """Give the slot to the next that waits. A second call changes nothing."""
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release()


class _Key:
    def __init__(self) -> None:
        self.taken = 0
        self.waiting: deque[anyio.Event] = deque()


class RecentKeys:
    """The keys that were used last, two of them: enough to tell of any key whether another is active."""

    _KEPT: Final = 2

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used_at: dict[str, float] = {}

    def use(self, key: str) -> None:
        """Record that a key is used now."""
        self._used_at.pop(key, None)
        self._used_at[key] = self._clock()
        if len(self._used_at) > self._KEPT:
            del self._used_at[next(iter(self._used_at))]

    def has_another_than(self, key: str) -> bool:
        """Return whether any other key was used recently."""
        since = self._clock() - _RECENT_SECONDS
        return any(other != key and used_at > since for other, used_at in self._used_at.items())


class KeyedSlots:
    """At most ``limit`` slots of each key (0: unlimited), or ``shared_limit`` while other keys are active.

    Both are called for each slot, so a reload applies. At most ``max_waiting`` of one key wait, each for
    ``wait_seconds``. A key without slots takes no space.
    """

    def __init__(
        self,
        limit: Callable[[], int],
        *,
        shared_limit: Callable[[], int] | None = None,
        wait_seconds: float,
        max_waiting: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._shared_limit = shared_limit or limit
        self._wait_seconds = wait_seconds
        self._max_waiting = max_waiting
        self._keys: dict[str, _Key] = {}
        self._recent = RecentKeys(clock=clock)

    async def take(self, key: str) -> Slot:
        """Return a slot, which must be released. Raises ``SlotsTaken``."""
        self._recent.use(key)
        limit = self._limit_of(key)
        if not limit:
            return Slot(lambda: None)
        state = self._keys.setdefault(key, _Key())
        if state.taken < limit and not state.waiting:
            state.taken += 1
        elif len(state.waiting) >= self._max_waiting:
            raise SlotsTaken
        else:
            await self._wait(key, state)
        return Slot(lambda: self._release(key, state))

    def _limit_of(self, key: str) -> int:
        return self._shared_limit() if self._recent.has_another_than(key) else self._limit()

    async def _wait(self, key: str, state: _Key) -> None:
        turn = anyio.Event()
        state.waiting.append(turn)
        try:
            with anyio.move_on_after(self._wait_seconds):
                await turn.wait()
        except BaseException:
            if turn.is_set():
                self._release(key, state)
            else:
                self._withdraw(key, state, turn)
            raise
        if not turn.is_set():
            self._withdraw(key, state, turn)
            raise SlotsTaken

    def _withdraw(self, key: str, state: _Key, turn: anyio.Event) -> None:
        state.waiting.remove(turn)
        self._drop_if_unused(key, state)

    def _release(self, key: str, state: _Key) -> None:
        state.taken -= 1
        if state.waiting:
            limit = self._limit_of(key) or len(state.waiting) + state.taken
            while state.waiting and state.taken < limit:
                state.taken += 1
                state.waiting.popleft().set()
        self._drop_if_unused(key, state)

    def _drop_if_unused(self, key: str, state: _Key) -> None:
        if not state.taken and not state.waiting:
            self._keys.pop(key, None)
