"""The built-in tool that reads results of other tools that the model is not shown whole.

Those are results that were cut, and old ones that were pruned. It is offered once the chat has one, which
the history and the chat show, so that other turns read nothing for it.
"""

import codecs
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.message import Message, Role
from chatd.domain.sanitize import replace_unstorable
from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_choice import READ_RESULT_TOOL
from chatd.store.tool_outputs import OutputSpan
from chatd.tools.tool import Tool, ToolOutcome, ToolRequest

_HEAD_BYTES: Final = 128
"""Room for the line that says what was read."""
_MAX_OFFSET: Final = 2**31 - 2
_MAX_MESSAGE_ID: Final = 2**63 - 1
_TIMEOUT_SECONDS: Final = 30.0
_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "tool_call_id": {"type": "string", "description": "The call whose result is to be read."},
        "message": {
            "type": "integer",
            "minimum": 1,
            "description": "The message of the result, where the line in its place names one.",
        },
        "offset": {
            "type": "integer",
            "minimum": 0,
            "description": "The byte to begin at. Default: 0.",
        },
        "limit": {
            "type": "integer",
            "minimum": 1,
            "description": "The number of bytes to read. Default: as many as one result may have.",
        },
    },
    "required": ["tool_call_id"],
}

ReadOutput = Callable[[str, int | None, int, int], Awaitable[OutputSpan | None]]
"""Function that reads an output of one chat: by the id of its call, in a message or the latest, from an
offset on, some bytes."""


def has_cut_result(history: Iterable[Message]) -> bool:
    """Return whether a result of a tool was cut, and more of it kept."""
    tool = Role.TOOL  # each step asks this of each message
    for message in history:
        if message.role is tool and any("output_bytes" in part for part in message.content):
            return True
    return False


def reading_tool(read: ReadOutput) -> Tool:
    """Return the tool for a chat."""

    async def run(request: ToolRequest) -> ToolOutcome:
        call_id = replace_unstorable(request.args["tool_call_id"])
        offset = min(int(request.args.get("offset", 0)), _MAX_OFFSET)
        most = max(request.output.shown_bytes - _HEAD_BYTES, 4)
        limit = min(int(request.args.get("limit", most)), most)
        message_id = request.args.get("message")
        message_id = None if message_id is None else min(int(message_id), _MAX_MESSAGE_ID)
        try:
            span = await read(call_id, message_id, offset, limit)
        except DatabaseUnavailable:
            return ToolOutcome(text="The result cannot be read at the moment.", is_error=True)
        return _outcome(span, offset)

    return Tool(
        name=READ_RESULT_TOOL,
        description="Read a part of a result that is not shown whole: it was too long, or is old.",
        parameters=_PARAMETERS,
        policy=CallPolicy.IDEMPOTENT,
        timeout_seconds=_TIMEOUT_SECONDS,
        read_only=True,
        needs_permission=False,
        run=run,
    )


def _outcome(span: OutputSpan | None, offset: int) -> ToolOutcome:
    if span is None:
        return ToolOutcome(text="Nothing more is kept of the result of this call.", is_error=True)
    if offset >= span.kept_bytes:
        text = f"Only the first {span.kept_bytes} of {span.total_bytes} bytes are kept."
        return ToolOutcome(text=text, is_error=True)
    # A character that the end goes through is left to the next read.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    text = decoder.decode(span.data)
    end = offset + len(span.data) - len(decoder.getstate()[0])
    kept = "" if span.kept_bytes == span.total_bytes else f", of which {span.kept_bytes} are kept"
    return ToolOutcome(text=f"Bytes {offset} to {end} of {span.total_bytes}{kept}:\n{text}")
