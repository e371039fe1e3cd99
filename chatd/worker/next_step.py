"""What to do next for one chat, from what is stored and nothing else.

Because it reads only what is stored, a crash resumes at the right step.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chatd.domain.message import (
    Message,
    NewMessage,
    Part,
    PendingToolCall,
    Role,
    pending_tool_calls,
)


@dataclass(frozen=True, slots=True)
class CallModel:
    """Somebody said something that the model has not answered."""


@dataclass(frozen=True, slots=True)
class RejectUnknownTools:
    """The model called tools that nobody has, and these calls have no result yet."""

    calls: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class AwaitClientTools:
    """The model called tools that the chat's client runs; ``unknown_calls`` are calls of no tool at all."""

    calls: tuple[PendingToolCall, ...]
    unknown_calls: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """It is the user's turn."""


NextStep = CallModel | RejectUnknownTools | AwaitClientTools | Finish


def next_step(
    history: Sequence[Message | NewMessage], *, client_tools: Collection[str] = ()
) -> NextStep:
    """Decide from the end of the history. ``client_tools`` are the names of what the client runs."""
    if calls := pending_tool_calls(history):
        unknown = tuple(call.part for call in calls if call.part["tool_name"] not in client_tools)
        asked = tuple(call for call in calls if call.part["tool_name"] in client_tools)
        return AwaitClientTools(asked, unknown) if asked else RejectUnknownTools(unknown)
    last = next((m.role for m in reversed(history) if m.role is not Role.SYSTEM), None)
    return CallModel() if last in {Role.USER, Role.TOOL} else Finish()


def steps_taken(history: Sequence[Message]) -> int:
    """How many answers of the model are stored since the user last spoke."""
    taken = 0
    for message in reversed(history):
        if message.role is Role.USER:
            break
        taken += message.role is Role.ASSISTANT
    return taken
