"""What to do next for one chat, from what is stored and nothing else.

Because it reads only what is stored, a crash resumes at the right step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatd.domain.message import Message, NewMessage, Part, Role


@dataclass(frozen=True, slots=True)
class CallModel:
    """Somebody said something that the model has not answered."""


@dataclass(frozen=True, slots=True)
class AnswerTools:
    """The model called tools, and these calls have no result yet."""

    calls: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """It is the user's turn."""


NextStep = CallModel | AnswerTools | Finish


def next_step(history: Sequence[Message | NewMessage]) -> NextStep:
    """Decide from the end of the history."""
    open_calls: dict[str, Part] = {}
    last: Role | None = None
    for message in history:
        if message.role is Role.SYSTEM:
            continue
        last = message.role
        if message.role is Role.USER:
            open_calls.clear()  # a user message never follows an open call; what is older is settled
        for part in message.content:
            if part["type"] == "tool-call":
                open_calls[part["tool_call_id"]] = part
            elif part["type"] == "tool-result":
                open_calls.pop(part["tool_call_id"], None)
    if open_calls:
        return AnswerTools(tuple(open_calls.values()))
    if last in {Role.USER, Role.TOOL}:
        return CallModel()
    return Finish()


def steps_taken(history: Sequence[Message]) -> int:
    """How many answers of the model are stored since the user last spoke."""
    taken = 0
    for message in reversed(history):
        if message.role is Role.USER:
            break
        taken += message.role is Role.ASSISTANT
    return taken
