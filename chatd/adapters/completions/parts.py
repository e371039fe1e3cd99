"""The content of one message of a client as parts of chatd. It does no I/O."""

from typing import Final

from chatd.adapters.completions.request import ContentPart, RequestMessage, ToolCall
from chatd.adapters.content import file_from_data_url, joined, text_part
from chatd.adapters.openai_errors import NOT_SUPPORTED
from chatd.api.errors.problems import FieldProblem, HttpProblem, invalid_request
from chatd.api.schema.content import SentContent
from chatd.domain.message import Part

_DATA: Final = "data:"
_NO_ARGUMENTS: Final = "{}"


def refused(number: int, field: str, reason: str) -> HttpProblem:
    """Return the refusal of a field of a message."""
    where = f"body.messages.{number}.{field}" if field else f"body.messages.{number}"
    return invalid_request(FieldProblem(where=where, message=reason))


def plain_text(message: RequestMessage, number: int) -> str:
    """Return the text of a message that may have nothing else. Raises ``HttpProblem``."""
    if not isinstance(message.content, list):
        return message.content or ""
    for place, part in enumerate(message.content):
        if part.type != "text":
            raise refused(number, f"content.{place}.type", NOT_SUPPORTED)
    return "".join(part.text or "" for part in message.content)


def user_content(message: RequestMessage, number: int) -> SentContent:
    """Return the content of a message of the user, without empty texts. Raises ``HttpProblem``."""
    if not isinstance(message.content, list):
        return joined([text_part(message.content)] if message.content else [])
    return joined(
        [
            _part(part, f"{number}.content.{place}", number, f"content.{place}")
            for place, part in enumerate(message.content)
            if part.type != "text" or part.text
        ]
    )


def _part(part: ContentPart, place: str, number: int, field: str) -> Part | SentContent:
    if part.type == "text":
        return text_part(part.text or "")
    if part.type == "image_url" and part.image_url is not None:
        where = f"body.messages.{place}.image_url.url"
        return file_from_data_url(part.image_url.url, where=where)
    if part.type == "file" and part.file is not None and part.file.file_data is not None:
        where = f"body.messages.{place}.file.file_data"
        return file_from_data_url(part.file.file_data, where=where, name=part.file.filename)
    raise refused(number, f"{field}.type", NOT_SUPPORTED)


def assistant_content(message: RequestMessage, number: int) -> list[Part]:
    """Return the text and the calls of an answer. Its reasoning is left out: no provider takes it back."""
    text = (
        message.content
        if isinstance(message.content, str)
        else "".join(part.text or part.refusal or "" for part in message.content or ())
    )
    text = text or message.refusal or ""
    parts = [text_part(text)] if text else []
    calls = {call.id: _call(call, number) for call in message.tool_calls or ()}
    return [*parts, *calls.values()]


def _call(call: ToolCall, number: int) -> Part:
    if call.type != "function" or call.function is None:
        raise refused(number, "tool_calls", NOT_SUPPORTED)
    return {
        "type": "tool-call",
        "tool_call_id": call.id,
        "tool_name": call.function.name,
        "args": call.function.arguments or _NO_ARGUMENTS,
    }
