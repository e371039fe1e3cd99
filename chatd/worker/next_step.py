"""Next step of a turn, decided from the stored history alone.

Because nothing else is read, a turn resumes at the right step after a crash.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chatd.domain.message import (
    Message,
    NewMessage,
    Part,
    PendingToolCall,
    Role,
    error_results,
    pending_tool_calls,
)


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call the model: the last message is not the model's."""


@dataclass(frozen=True, slots=True)
class RejectUnknownTools:
    """Answer calls of tools that do not exist with errors."""

    calls: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class AwaitClientTools:
    """Wait for the client to run ``calls``. Answer ``unknown_calls`` with errors."""

    calls: tuple[PendingToolCall, ...]
    unknown_calls: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """End the turn: the model's response is complete."""


NextStep = CallModel | RejectUnknownTools | AwaitClientTools | Finish


def next_step(
    history: Sequence[Message | NewMessage], *, client_tools: Collection[str] = ()
) -> NextStep:
    """Return what to do after ``history``. ``client_tools`` names the tools that the client runs."""
    if calls := pending_tool_calls(history):
        unknown = tuple(call.part for call in calls if call.part["tool_name"] not in client_tools)
        known = tuple(call for call in calls if call.part["tool_name"] in client_tools)
        return AwaitClientTools(known, unknown) if known else RejectUnknownTools(unknown)
    last = next((m.role for m in reversed(history) if m.role is not Role.SYSTEM), None)
    return CallModel() if last in {Role.USER, Role.TOOL} else Finish()


def steps_taken(history: Sequence[Message]) -> int:
    """Return the number of model responses since the last user message."""
    steps = 0
    for message in reversed(history):
        if message.role is Role.USER:
            break
        steps += message.role is Role.ASSISTANT
    return steps


def unknown_tool_errors(calls: Sequence[Part]) -> list[NewMessage]:
    """Return the error results of calls of tools that do not exist, as a message if there are any."""
    if not calls:
        return []
    return [error_results(calls, lambda call: f"There is no tool named {call['tool_name']}.")]
