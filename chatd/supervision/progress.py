"""Progress, not pulse: whether a task gets anywhere, where it is, and why it was cancelled."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

import anyio

CauseT = TypeVar("CauseT", bound=str)


class Scope(Generic[CauseT]):
    """A cancel scope that knows why it was cancelled: the cause is set first, and the first wins.

    When ``cause`` is still None after the body was cancelled, the cancellation came from outside.
    """

    def __init__(self) -> None:
        self.cause: CauseT | None = None
        self._scope = anyio.CancelScope()

    def cancel(self, cause: CauseT) -> None:
        if self.cause is None:
            self.cause = cause
            self._scope.cancel(cause)

    @property
    def cancelled(self) -> bool:
        """Whether the body was cut short by this scope; known once the scope has been left."""
        return self._scope.cancelled_caught

    def __enter__(self) -> "Scope[CauseT]":
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return bool(self._scope.__exit__(kind, error, traceback))


class ZoneTimeout(TimeoutError):
    """A zone passed its deadline without progress."""

    def __init__(self, zone: str, seconds: float) -> None:
        super().__init__(f"{zone} made no progress for {seconds:g} s")
        self.zone = zone
        self.seconds = seconds


class Zone:
    """A stretch of work with a deadline of its own, which progress made in it puts off."""

    def __init__(self, progress: "Progress", name: str, seconds: float) -> None:
        self.name = name
        self.since = anyio.current_time()
        self.scope = anyio.CancelScope(deadline=self.since + seconds)
        self._progress = progress
        self._seconds = seconds

    def mark(self, step: str) -> None:
        """Note that a step was made, and start the allowance of this zone anew."""
        self._progress.mark(step)
        self.scope.deadline = anyio.current_time() + self._seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSnapshot:
    """Where a task is: its innermost zone, if any, and the last mark that it made."""

    zone: str | None
    zone_age_seconds: float
    deadline_seconds: float | None
    mark: str | None
    mark_age_seconds: float


class Progress:
    """What one task is doing; it marks what it has done, and enters a zone for what may be slow."""

    def __init__(self) -> None:
        self._zones: list[Zone] = []
        self._mark: str | None = None
        self._marked_at = anyio.current_time()

    def mark(self, step: str) -> None:
        """Note that a step was made. This puts no deadline off; ``Zone.mark`` does."""
        self._mark = step
        self._marked_at = anyio.current_time()

    @contextmanager
    def zone(self, name: str, seconds: float) -> Iterator[Zone]:
        """Allow the body so many seconds, from its begin or from the last ``Zone.mark``.

        Past that it is cancelled and ``ZoneTimeout`` is raised. A cancellation from outside, also
        one that comes at the same moment, passes through as what it is.
        """
        zone = Zone(self, name, seconds)
        self._zones.append(zone)
        try:
            with zone.scope:
                yield zone
        finally:
            self._zones.remove(zone)
        if zone.scope.cancelled_caught:
            raise ZoneTimeout(name, seconds)

    def snapshot(self) -> ProgressSnapshot:
        now = anyio.current_time()
        zone = self._zones[-1] if self._zones else None
        return ProgressSnapshot(
            zone=zone.name if zone else None,
            zone_age_seconds=now - zone.since if zone else 0.0,
            deadline_seconds=min(z.scope.deadline for z in self._zones) - now if zone else None,
            mark=self._mark,
            mark_age_seconds=now - self._marked_at,
        )
