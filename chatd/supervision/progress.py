"""Progress, not pulse: whether a task gets anywhere, where it is, and why it was cancelled."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

import anyio

CauseT = TypeVar("CauseT", bound=str)


class CancelScopeWithCause(Generic[CauseT]):
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

    def __enter__(self) -> "CancelScopeWithCause[CauseT]":
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return bool(self._scope.__exit__(kind, error, traceback))


class StageTimeout(TimeoutError):
    """A zone passed its deadline without progress."""

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(f"{stage} made no progress for {seconds:g} s")
        self.stage = stage
        self.seconds = seconds


class Stage:
    """A stretch of work with a deadline of its own, which progress made in it puts off."""

    def __init__(self, progress: "Progress", name: str, seconds: float) -> None:
        self.name = name
        self.started_at = anyio.current_time()
        self.scope = anyio.CancelScope(deadline=self.started_at + seconds)
        self._progress = progress
        self._seconds = seconds

    def mark(self, step: str) -> None:
        """Note that a step was made, and start the allowance of this zone anew."""
        self._progress.mark(step)
        self.scope.deadline = anyio.current_time() + self._seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSnapshot:
    """Where a task is: its innermost zone, if any, and the last mark that it made."""

    stage: str | None
    stage_age_seconds: float
    deadline_in_seconds: float | None
    last_progress: str | None
    seconds_since_progress: float


class Progress:
    """What one task is doing; it marks what it has done, and enters a zone for what may be slow."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._last_progress: str | None = None
        self._progress_at = anyio.current_time()

    def mark(self, step: str) -> None:
        """Note that a step was made. This puts no deadline off; ``Stage.last_progress`` does."""
        self._last_progress = step
        self._progress_at = anyio.current_time()

    @contextmanager
    def stage(self, name: str, seconds: float) -> Iterator[Stage]:
        """Allow the body so many seconds, from its begin or from the last ``Stage.last_progress``.

        Past that it is cancelled and ``StageTimeout`` is raised. A cancellation from outside, also
        one that comes at the same moment, passes through as what it is.
        """
        zone = Stage(self, name, seconds)
        self._stages.append(zone)
        try:
            with zone.scope:
                yield zone
        finally:
            self._stages.remove(zone)
        if zone.scope.cancelled_caught:
            raise StageTimeout(name, seconds)

    def snapshot(self) -> ProgressSnapshot:
        now = anyio.current_time()
        zone = self._stages[-1] if self._stages else None
        return ProgressSnapshot(
            stage=zone.name if zone else None,
            stage_age_seconds=now - zone.started_at if zone else 0.0,
            deadline_in_seconds=min(z.scope.deadline for z in self._stages) - now if zone else None,
            last_progress=self._last_progress,
            seconds_since_progress=now - self._progress_at,
        )
