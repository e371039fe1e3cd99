"""Failures of turns, and the panics of their tasks."""

import json
from datetime import UTC, datetime

from chatd.domain.failure import Failure, FailureKind, panic_failure


def test_panic_message_has_the_error_without_secrets() -> None:
    failure = panic_failure(RuntimeError("lost sk-abcdefgh1234 \x00"))
    assert failure.kind is FailureKind.PANIC
    assert failure.message == "chat processing panicked: lost [redacted] \N{REPLACEMENT CHARACTER}"
    assert not failure.retryable


def test_panic_without_a_message_names_its_class() -> None:
    assert (
        panic_failure(ZeroDivisionError()).message == "chat processing panicked: ZeroDivisionError"
    )


def test_panic_in_a_task_group_is_unwrapped() -> None:
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("bad")])])
    assert panic_failure(group).message == "chat processing panicked: bad"


def test_panic_with_a_broken_str_names_its_class() -> None:
    class BrokenStr(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert panic_failure(BrokenStr()).message == "chat processing panicked: BrokenStr"


def test_detail_tells_whether_the_failure_is_retryable() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    detail = Failure(kind=FailureKind.PROVIDER_ERROR, message="No.").detail(attempts=3, at=at)
    assert (detail["retryable"], detail["attempts"], detail["kind"]) == (True, 3, "provider_error")
    json.dumps(detail)
