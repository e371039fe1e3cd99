"""Progress of a task: its stage, its last step, and the cause of its cancellation."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

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
    """Part of a task with a deadline of its own, which progress in it extends."""

    def __init__(self, progress: "Progress", name: str, seconds: float) -> None:
        self.name = name
        self.started_at = anyio.current_time()
        self.scope = anyio.CancelScope(deadline=self.started_at + seconds)
        self._progress = progress
        self._seconds = seconds

    def mark(self, step: str) -> None:
        """Record progress, and restart the deadline of this stage."""
        self._progress.mark(step)
        self.scope.deadline = anyio.current_time() + self._seconds


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

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._last_progress: str | None = None
        self._progress_at = anyio.current_time()
        self.revision = 0
        """Rises with each mark, and when a stage begins or ends, so that a reader sees what is new."""

    def mark(self, step: str) -> None:
        """Record progress. This extends no deadline: ``Stage.mark`` does."""
        self._last_progress = step
        self._progress_at = anyio.current_time()
        self.revision += 1

    @contextmanager
    def stage(self, name: str, seconds: float, *, elapsed_seconds: float = 0.0) -> Iterator[Stage]:
        """Give the body ``seconds``, from its begin or from the last ``Stage.mark``.

        It began ``elapsed_seconds`` ago, in another task.

        Past that it is cancelled and ``StageTimeout`` is raised. A cancellation from outside, also at the
        same moment, passes through as a cancellation.
        """
        stage = Stage(self, name, seconds)
        stage.scope.deadline -= elapsed_seconds
        self._stages.append(stage)
        self.revision += 1
        try:
            with stage.scope:
                yield stage
        finally:
            self._stages.remove(stage)
            self.revision += 1
        if stage.scope.cancelled_caught:
            raise StageTimeout(name, seconds)

    def snapshot(self) -> ProgressSnapshot:
        """Return where the task is now."""
        now = anyio.current_time()
        stage = self._stages[-1] if self._stages else None
        deadline = min((stage.scope.deadline for stage in self._stages), default=None)
        return ProgressSnapshot(
            stage=stage.name if stage else None,
            stage_age_seconds=now - stage.started_at if stage else 0.0,
            deadline_in_seconds=None if deadline is None else deadline - now,
            last_progress=self._last_progress,
            seconds_since_progress=now - self._progress_at,
        )
