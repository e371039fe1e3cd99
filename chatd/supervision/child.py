"""Child: the specification of a supervised task, and the handle it gets when it runs."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import anyio
from anyio.lowlevel import checkpoint


class Restart(StrEnum):
    """Rule for starting a child again after it ended."""

    PERMANENT = "permanent"  # always: only a stop ends it for good
    TRANSIENT = "transient"  # after an exception; returning is the normal end
    TEMPORARY = "temporary"  # never


class FatalError(Exception):
    """An error that a restart cannot cure: the whole tree stops, and its caller reports the reason.

    It is an expected end, such as a port that another process has. So the supervisor logs no traceback.
    """


class StopRequest:
    """Request to stop: an event that also wakes tasks that wait for another one, and cancels others."""

    def __init__(self) -> None:
        self._requested = anyio.Event()
        self._linked_events: set[anyio.Event] = set()
        self._linked_scopes: set[anyio.CancelScope] = set()

    def set(self) -> None:
        """Request the stop, wake what waits in ``wait_or``, and cancel what runs in ``cancels``."""
        self._requested.set()
        for event in self._linked_events:
            event.set()
        for scope in self._linked_scopes:
            scope.cancel()

    def is_set(self) -> bool:
        return self._requested.is_set()

    async def wait(self) -> None:
        await self._requested.wait()

    async def wait_or(self, event: anyio.Event) -> None:
        """Wait for the request or for ``event``, whichever comes first. The request also sets ``event``.

        So ``event`` must be a wake-up that may be spurious. A task group with a task for each wait would do
        the same at twenty times the cost (measured).
        """
        if self._requested.is_set():
            await checkpoint()
            return
        self._linked_events.add(event)
        try:
            await event.wait()
        finally:
            self._linked_events.discard(event)

    @contextmanager
    def cancels(self) -> Iterator[anyio.CancelScope]:
        """Cancel the body when the stop is requested, and go on after it."""
        with anyio.CancelScope() as scope:
            if self._requested.is_set():
                scope.cancel()
            self._linked_scopes.add(scope)
            try:
                yield scope
            finally:
                self._linked_scopes.discard(scope)


class ChildHandle:
    """Handle of a running child: it reports readiness and receives the request to stop."""

    def __init__(
        self,
        name: str,
        *,
        on_ready: Callable[[], None] | None = None,
        on_outage: Callable[[bool], None] | None = None,
    ) -> None:
        self.name = name
        self.status_note = ""  # shown in the snapshot, such as "outage: ConnectionError"
        self.stopping = StopRequest()
        self._on_ready = on_ready
        self._on_outage = on_outage
        self._ready = False

    @property
    def is_ready(self) -> bool:
        return self._ready

    def ready(self) -> None:
        """Report that the child is up, so that the next one may start. Repeated calls do nothing."""
        if not self._ready:
            self._ready = True
            if self._on_ready is not None:
                self._on_ready()

    def outage(self, *, ongoing: bool) -> None:
        """Report the begin or the end of an expected outage, which does not count as time to get ready."""
        if self._on_outage is not None:
            self._on_outage(ongoing)

    async def pause(self, seconds: float, *, until: anyio.Event | None = None) -> None:
        """Wait for the time to pass, for ``until``, or for the request to stop, whichever comes first."""
        with anyio.move_on_after(seconds):
            await (self.stopping.wait() if until is None else self.stopping.wait_or(until))


StartFunction = Callable[[ChildHandle], Awaitable[None]]
"""Runs a child until it ends; calls ``ready`` of the handle once it is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """Specification of one child of a supervisor.

    ``start`` runs the child until it ends, and calls ``ready()`` once it is up. ``shutdown_seconds`` is the
    time between the request to stop and the cancellation. ``depends_on`` names earlier permanent siblings
    without which it cannot work. When one of them ends, this child is stopped, and started again once that
    one is up. ``restarts`` gives it a restart budget of its own, instead of a share in the supervisor's.

    A child that nothing relies on is not ``essential``. Its failures delay the start of no other, and when
    its budget is spent, it is left alone for the window of the budget, and the process lives on.
    """

    name: str
    start: StartFunction
    restart: Restart = Restart.PERMANENT
    shutdown_seconds: float = 5.0
    depends_on: tuple[str, ...] = ()
    restarts: int | None = None
    essential: bool = True
