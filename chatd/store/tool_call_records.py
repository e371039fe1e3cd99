"""Rows of the ledger of tool calls as values of the domain."""

from collections.abc import Iterable, Mapping
from typing import Any

from chatd.domain.question import Question
from chatd.domain.tool_call import CallPolicy, CallState, Executor, ToolCall
from chatd.domain.tool_call_record import ToolCallRecord
from chatd.store.records import Row


def tool_call_record(row: Row) -> ToolCallRecord:
    """Return a row of ``chat_tool_calls`` as people are shown it."""
    return ToolCallRecord(
        message_id=row["message_id"],
        tool_call_id=row["tool_call_id"],
        tool_name=row["tool_name"],
        executor=Executor(row["executor"]),
        policy=CallPolicy.read(row["policy"]),
        state=CallState.read(row["state"]),
        tries=row["tries"],
        is_error=row["is_error"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        now=row["now"],
    )


def ledger(rows: Iterable[Row] | None) -> tuple[ToolCall, ...]:
    """Return open rows of ``chat_tool_calls``, objects of ``to_jsonb``, as values."""
    return tuple(
        ToolCall(
            id=row["tool_call_id"],
            name=row["tool_name"],
            message_id=row["message_id"],
            state=CallState.read(row["state"]),
            policy=CallPolicy.read(row["policy"]),
            tries=row["tries"],
            epoch=row["epoch"],
            executor=Executor(row["executor"]),
            question=Question.read(row["question"]),
            args=_given_args(row),
            continuation=_bytes(row["continuation"]),
            decision=row["decision"],
        )
        for row in rows or ()
    )


def _given_args(row: Row) -> Mapping[str, Any] | None:
    """Return the arguments that a person gave when the call was allowed."""
    decisions = [*(each["decision"] for each in row["earlier_decisions"]), row["decision"]]
    return next((each["args"] for each in decisions if each and "args" in each), None)


def _bytes(value: str | None) -> bytes | None:
    """Return a value of bytea as ``to_jsonb`` spells it."""
    return None if value is None else bytes.fromhex(value.removeprefix("\\x"))
