"""A step that failed and is to be tried again: its log line, and the command that records it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

import structlog

from chatd.domain.failure import Failure
from chatd.domain.tool_call import ToolResult
from chatd.store.commands import Defer, Fail, RecordRetry
from chatd.worker.retry import MAX_WAIT_IN_TASK_SECONDS

_log = structlog.get_logger()


def log_failure(failure: Failure, *, attempts: int) -> None:
    """Log that the turn failed."""
    _log.warning(
        "chat.failed",
        kind=failure.kind.value,
        provider=failure.provider,
        model=failure.model,
        status_code=failure.status_code,
        attempts=attempts,
        reason=failure.loggable,
    )


def fail_command(
    failure: Failure,
    *,
    attempts: int,
    step: int,
    settled_part: int,
    results: Sequence[ToolResult],
) -> Fail:
    """Return the command that stores a failure as the chat's ``last_error``."""
    return Fail(
        step=step,
        last_error=failure.message,
        last_error_detail=failure.detail(attempts=attempts, at=datetime.now(UTC)),
        settled_part=settled_part,
        results=results,
    )


class _Values(TypedDict):
    """Fields that both commands have."""

    step: int
    attempts: int
    delay_seconds: float
    settled_part: int
    failure: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """The failure of one attempt. ``attempts`` counts those of the step, this one included."""

    failure: Failure
    attempts: int
    delay_seconds: float
    """Time until the next attempt."""

    def log(self) -> None:
        """Log that the step is tried again."""
        _log.info(
            "chat.retry",
            attempt=self.attempts,
            delay_seconds=round(self.delay_seconds, 3),
            kind=self.failure.kind.value,
            status_code=self.failure.status_code,
        )

    def command(
        self, *, step: int, settled_part: int, remaining_seconds: float
    ) -> RecordRetry | Defer:
        """Return the command that records the attempt, and gives the chat back if the wait is long."""
        values = _Values(
            step=step,
            attempts=self.attempts,
            delay_seconds=self.delay_seconds,
            settled_part=settled_part,
            failure=self.failure.detail(attempts=self.attempts, at=datetime.now(UTC)),
        )
        if self.delay_seconds > MAX_WAIT_IN_TASK_SECONDS:
            return Defer(**values, remaining_seconds=remaining_seconds)
        return RecordRetry(**values)
