"""What a supervised child is: how it is described, and the handle it gets when it runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import anyio
from anyio.lowlevel import checkpoint


class Restart(StrEnum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"  # always: only a stop may end it
    TRANSIENT = "transient"  # when it raised; to return is to be done
    TEMPORARY = "temporary"  # never


class FatalError(Exception):
    """A restart cannot help: stop the whole tree."""


class StopRequest:
    """The polite ask to stop: an event that also wakes whoever waits for another one meanwhile."""

    def __init__(self) -> None:
        self._requested = anyio.Event()
        self._linked_events: set[anyio.Event] = set()

    def set(self) -> None:
        self._requested.set()
        for event in self._linked_events:
            event.set()

    def is_set(self) -> bool:
        return self._requested.is_set()

    async def wait(self) -> None:
        await self._requested.wait()

    async def wait_or(self, event: anyio.Event) -> None:
        """Wait for the ask or ``event``, which the ask sets: a level-triggered wake-up bears that.

        A task group with a task for each would do the same at twenty times the cost.
        """
        if self._requested.is_set():
            await checkpoint()
            return
        self._linked_events.add(event)
        try:
            await event.wait()
        finally:
            self._linked_events.discard(event)


class ChildHandle:
    """The handle a child gets: how it says that it is up, and hears that it shall stop."""

    def __init__(self, name: str, *, on_ready: Callable[[], None] | None = None) -> None:
        self.name = name
        self.status_note = ""  # a few words for the snapshot, such as "outage: ConnectionError"
        self.stopping = StopRequest()
        self._on_ready = on_ready
        self._ready = False

    @property
    def is_ready(self) -> bool:
        return self._ready

    def ready(self) -> None:
        """Say that the child is up: the next one may start. Again is allowed and does nothing."""
        if not self._ready:
            self._ready = True
            if self._on_ready is not None:
                self._on_ready()

    async def pause(self, seconds: float, *, until: anyio.Event | None = None) -> None:
        """Wait for the time to pass, the event, or the ask to stop: whichever comes first."""
        with anyio.move_on_after(seconds):
            await (self.stopping.wait() if until is None else self.stopping.wait_or(until))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One child of a supervisor.

    ``start`` runs the child until it ends; it calls ``ready()`` once it is up.
    ``shutdown_seconds`` is what it gets to end after it was asked, before it is cancelled.
    ``depends_on`` names earlier permanent siblings without which it cannot work: when one of them ends,
    this child is stopped, and started again once that one is up.
    ``actor_restarts`` gives it a restart budget of its own, instead of a share in the supervisor's.
    """

    name: str
    start: Callable[[ChildHandle], Awaitable[None]]
    restart: Restart = Restart.PERMANENT
    shutdown_seconds: float = 5.0
    depends_on: tuple[str, ...] = ()
    restarts: int | None = None
