"""Pruning: old results of tools are shown as one line each. Pure.

The line names the tool that reads the result again, so nothing is lost. The boundary is the id of a message
and only rises: results up to it are pruned, later ones are whole. It moves in large batches, because each
move changes the front of the prompt, which the provider has in its cache.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from chatd.domain.message import Message, Part, Role
from chatd.domain.request_size import message_tokens, part_tokens, result_text
from chatd.domain.tool_choice import READ_RESULT_TOOL
from chatd.tools.output import json_text

_KEPT_SHARE: Final = 4
"""The newest results stay: those within this fraction of the usable window."""
_FREED_SHARE: Final = 10
"""Pruning must free this fraction of it."""
_KEPT_USER_MESSAGES: Final = 2
"""Results since the last so many user messages stay, if it is enough to prune those before."""
_MIN_BYTES: Final = 400
"""Results up to this size stay: the line that would stand for one has a third of it."""


def pruned_view(messages: tuple[Message, ...], pruned_through: int | None) -> tuple[Message, ...]:
    """Return the messages as a model is shown them: those up to a boundary with pruned results."""
    if pruned_through is None:
        return messages
    return tuple(
        [
            _pruned(message)
            if message.role is Role.TOOL and message.id <= pruned_through
            else message
            for message in messages
        ]
    )


def prune_boundary(
    messages: Sequence[Message], *, pruned_through: int | None, usable: int, excess: int
) -> int | None:
    """Return the boundary that frees at least ``excess`` tokens and a tenth of the usable window.

    None: no boundary does. Results before the last two user messages go first. Those of one long turn go,
    too, if that is not enough.
    """
    results = [message for message in messages if message.role is Role.TOOL]
    newest, kept = usable // _KEPT_SHARE, 0
    old: list[Message] = []
    for message in reversed(results):
        kept += message_tokens(message)
        if (
            kept > newest and message is not messages[-1]
        ):  # no model has read the results at the end
            old.append(message)
    users = [m.id for m in messages if m.role is Role.USER and m.covers_until is None]
    turns_before = users[-_KEPT_USER_MESSAGES:][0] if users else 0
    needed = max(excess, -(-usable // _FREED_SHARE))
    for candidates in ([m for m in old if m.id < turns_before], old):
        boundary = max((message.id for message in candidates), default=0)
        if boundary and freed_tokens(messages, pruned_through, boundary) >= needed:
            return boundary
    return None


def freed_tokens(messages: Sequence[Message], pruned_through: int | None, boundary: int) -> int:
    """Return the tokens that are freed if the boundary rises."""
    return sum(
        message_tokens(message) - message_tokens(_pruned(message))
        for message in messages
        if message.role is Role.TOOL and (pruned_through or 0) < message.id <= boundary
    )


def _pruned(message: Message) -> Message:
    parts = tuple([_pruned_part(part, message.id) for part in message.content])
    return message if parts == message.content else replace(message, content=parts)


def _pruned_part(part: Part, message_id: int) -> Part:
    if part["type"] != "tool-result":
        return part
    size = len(result_text(part.get("result")).encode(errors="replace"))
    if size <= _MIN_BYTES and part_tokens(part) * 3 <= _MIN_BYTES:
        return part
    call = json_text(part["tool_call_id"])
    line = (
        f"[result of {part['tool_name']}, {size:,} bytes, removed to save room: {READ_RESULT_TOOL} "
        f"reads it, tool_call_id {call}, message {message_id}]"
    )
    kept = {key: part[key] for key in part.keys() - {"result", "files", "output_bytes"}}
    return {**kept, "result": line}
