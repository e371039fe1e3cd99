"""Progress of a task: its stage, its last step, and the cause of its cancellation.

A mark is made for every live part: it reads the clock of the loop and writes numbers, and sets no timer.
The benchmark ``parts`` watches it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio

CauseT = TypeVar("CauseT", bound=str)


class CancelScopeWithCause(Generic[CauseT]):
    """Cancel scope that records why it was cancelled. The first cause wins.

    If ``cause`` is still None after the body was cancelled, the cancellation came from outside.
    """

    def __init__(self) -> None:
        self.cause: CauseT | None = None
        self._scope = anyio.CancelScope()

    def cancel(self, cause: CauseT) -> None:
        """Set the cause, then cancel the body. Later calls do nothing."""
        if self.cause is None:
            self.cause = cause
            self._scope.cancel(cause)

    @property
    def cancelled(self) -> bool:
        """True if this scope cancelled the body. Known once the scope was left."""
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
    """A stage passed its deadline without progress."""

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(f"{stage} made no progress for {seconds:g} s")
        self.stage = stage
        self.seconds = seconds


class Stage:
    """Part of a task with a deadline of its own, which progress in it extends.

    It is entered once. Past its deadline the body is cancelled and ``StageTimeout`` is raised. A
    cancellation from outside, also at the same moment, passes through as a cancellation.
    """

    __slots__ = (
        "_now",
        "_progress",
        "_progress_at",
        "_scope",
        "_timed_out",
        "_timer",
        "_within",
        "name",
        "seconds",
        "started_at",
    )

    def __init__(
        self,
        progress: "Progress",
        name: str,
        seconds: float,
        *,
        elapsed_seconds: float,
        within: tuple[str, float] | None,
    ) -> None:
        self.name = name
        self.seconds = seconds
        self._progress = progress
        self._now = progress.now
        self._scope = anyio.CancelScope()
        self._timer: asyncio.TimerHandle | None = None
        self.started_at = self._now()
        self._within = within
        self._timed_out = (name, seconds)
        """The stage whose deadline it is that has passed, if one has."""
        self._progress_at = self.started_at - elapsed_seconds

    @property
    def deadline(self) -> float:
        """The moment at which the body is cancelled, on the clock of the event loop."""
        deadline = self._progress_at + self.seconds
        return (
            deadline if self._within is None else min(deadline, self.started_at + self._within[1])
        )

    def mark(self, step: str) -> None:
        """Record progress, and restart the deadline of this stage. The timer finds out when it fires."""
        # As ``Progress.mark`` does, without its call: this is made for every live part.
        progress = self._progress
        progress.last_progress = step
        progress.progress_at = self._progress_at = self._now()
        progress.revision += 1

    def __enter__(self) -> Self:
        self._progress.enter(self)
        self._scope.__enter__()
        self._cancel_or_wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        try:
            handled = bool(self._scope.__exit__(kind, error, traceback))
        finally:
            self._progress.leave(self)
        if self._scope.cancelled_caught:
            raise StageTimeout(*self._timed_out)
        return handled

    def _cancel_or_wait(self) -> None:
        """Cancel the body if its time is over, else look again when it is."""
        if self._now() >= self.deadline:
            if self._within is not None and self._now() >= self.started_at + self._within[1]:
                self._timed_out = self._within
            self._scope.cancel(f"{self._timed_out[0]} timed out")
        else:
            self._timer = asyncio.get_running_loop().call_at(self.deadline, self._cancel_or_wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSnapshot:
    """Progress of a task at one moment: its innermost stage, if any, and its last mark."""

    stage: str | None
    stage_age_seconds: float
    deadline_in_seconds: float | None
    last_progress: str | None
    seconds_since_progress: float


class Progress:
    """Progress of one task. The task marks what it has done, and enters a stage for what may be slow."""

    __slots__ = ("_stages", "last_progress", "now", "progress_at", "revision")

    def __init__(self) -> None:
        self.now: Callable[[], float] = asyncio.get_running_loop().time
        """The clock of the event loop, without a look-up of which loop that is."""
        self._stages: list[Stage] = []
        self.last_progress: str | None = None
        """The last mark."""
        self.progress_at = self.now()
        """The moment of the last mark."""
        self.revision = 0
        """Rises with each mark, and when a stage begins or ends, so that a reader sees what is new."""

    def mark(self, step: str) -> None:
        """Record progress. This extends no deadline: ``Stage.mark`` does."""
        self.last_progress = step
        self.progress_at = self.now()
        self.revision += 1

    def stage(
        self,
        name: str,
        seconds: float,
        *,
        elapsed_seconds: float = 0.0,
        within: tuple[str, float] | None = None,
    ) -> Stage:
        """Return a stage that gives its body ``seconds``, from its begin or from the last ``Stage.mark``.

        It began ``elapsed_seconds`` ago, in another task. ``within`` is a stage around the same body, as a
        name and the seconds that no mark extends: it costs no scope of its own.
        """
        return Stage(self, name, seconds, elapsed_seconds=elapsed_seconds, within=within)

    def enter(self, stage: Stage) -> None:
        """Note that the task entered a stage."""
        self._stages.append(stage)
        self.revision += 1

    def leave(self, stage: Stage) -> None:
        """Note that the task left a stage."""
        self._stages.remove(stage)
        self.revision += 1

    def snapshot(self) -> ProgressSnapshot:
        """Return where the task is now."""
        now = self.now()
        stage = self._stages[-1] if self._stages else None
        deadline = min((stage.deadline for stage in self._stages), default=None)
        return ProgressSnapshot(
            stage=stage.name if stage else None,
            stage_age_seconds=now - stage.started_at if stage else 0.0,
            deadline_in_seconds=None if deadline is None else deadline - now,
            last_progress=self.last_progress,
            seconds_since_progress=now - self.progress_at,
        )
