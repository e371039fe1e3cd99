"""Boundary of a summary: the messages that it covers, and the newest ones, which stay as they are. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from chatd.domain.message import Message, Role, pending_tool_calls
from chatd.domain.request_size import message_tokens


@dataclass(frozen=True, slots=True)
class Split:
    """A history in three. System prompts are never covered."""

    system: tuple[Message, ...]
    covered: tuple[Message, ...]
    tail: tuple[Message, ...]

    @property
    def covers_until(self) -> int:
        """The id of the last message that is covered."""
        last = self.covered[-1]
        return last.id if last.covers_until is None else last.covers_until

    @property
    def previous(self) -> Message | None:
        """The summary that the new one replaces."""
        return next((one for one in self.covered if one.covers_until is not None), None)


def split(
    messages: Sequence[Message], *, tail_tokens: int, keeps_unread: bool = True
) -> Split | None:
    """Return what a summary is to cover. None: nothing that is not covered already.

    The tail has the user's unanswered messages, whatever their size, and before them whole messages of at
    most ``tail_tokens``. It begins at a user's message, or right after the results of all calls. With
    ``keeps_unread`` it also has results that no model has read yet, with their calls.
    """
    system = tuple([one for one in messages if one.role is Role.SYSTEM])
    dialogue = [one for one in messages if one.role is not Role.SYSTEM]
    start, tokens = None, 0
    latest = _last_answered(dialogue)
    if keeps_unread and latest == len(dialogue):
        latest = _before_unread(dialogue)
    for place in range(latest, 0, -1):
        if place < latest:
            tokens += message_tokens(dialogue[place])
        if tokens > tail_tokens and start is not None:
            break
        if _may_begin_tail(dialogue, place):
            start = place
    if start is None or all(one.covers_until is not None for one in dialogue[:start]):
        return None
    return Split(system, tuple(dialogue[:start]), tuple(dialogue[start:]))


def _last_answered(dialogue: Sequence[Message]) -> int:
    """Return the place after the last message that is not an unanswered one of the user."""
    place = len(dialogue)
    while place and dialogue[place - 1].role is Role.USER:
        if dialogue[place - 1].covers_until is not None:
            break
        place -= 1
    return place


def _before_unread(dialogue: Sequence[Message]) -> int:
    """Return the place of the calls whose results are the end of a history."""
    place = len(dialogue)
    if not place or dialogue[-1].role is not Role.TOOL:
        return place
    while place and dialogue[place - 1].role is Role.TOOL:
        place -= 1
    return max(place - 1, 0)


def _may_begin_tail(dialogue: Sequence[Message], place: int) -> bool:
    at_user = place < len(dialogue) and dialogue[place].role is Role.USER
    after_results = dialogue[place - 1].role is Role.TOOL
    return (at_user or after_results) and not pending_tool_calls(dialogue[:place])


def unanswered(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the user's messages that nobody has begun to answer."""
    dialogue = [one for one in messages if one.role is not Role.SYSTEM]
    return dialogue[_last_answered(dialogue) :]
