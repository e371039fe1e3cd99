"""Rows of the ledger of tool calls in responses."""

from datetime import datetime

from pydantic import BaseModel, Field

from chatd.domain import tool_call_record
from chatd.domain.tool_call import CallPolicy, CallState, Executor


class ToolCallRecord(BaseModel):
    """A tool call as the ledger has it. Its arguments and its result are in the messages."""

    message_id: int = Field(description="The message that made the call.", examples=[3000001])
    tool_call_id: str = Field(examples=["call_1"])
    tool_name: str = Field(examples=["weather"])
    executor: Executor = Field(description="The side that runs it.", examples=["server"])
    policy: CallPolicy = Field(
        description="The rule for a call whose worker died.", examples=["at_most_once"]
    )
    state: CallState = Field(examples=["closed"])
    tries: int = Field(description="Number of times that the server started it.", examples=[1])
    is_error: bool | None = Field(description="Null until it has its result.", examples=[False])
    started_at: datetime = Field(description="Its start, or since when it waits.")
    completed_at: datetime | None = Field(examples=["2026-03-01T09:30:02.480000Z"])
    seconds: float = Field(description="Time until its result, or so far.", examples=[0.84])

    @classmethod
    def from_domain(cls, call: tool_call_record.ToolCallRecord) -> "ToolCallRecord":
        return cls(
            message_id=call.message_id,
            tool_call_id=call.tool_call_id,
            tool_name=call.tool_name,
            executor=call.executor,
            policy=call.policy,
            state=call.state,
            tries=call.tries,
            is_error=call.is_error,
            started_at=call.started_at,
            completed_at=call.completed_at,
            seconds=call.seconds,
        )
