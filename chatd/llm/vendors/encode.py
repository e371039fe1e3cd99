"""Encoder: our messages → pydantic-ai's. Imported late, see ``pydantic_ai``."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from pydantic_ai.messages import (
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from chatd.domain.message import Message, Part, Role, text_of
from chatd.llm.errors import UnsupportedContent


def encode_history(messages: Iterable[Message], *, system: str) -> list[ModelMessage]:
    """Return the history as alternating requests and responses.

    ``system`` is pydantic-ai's name of the provider that will read it.
    """
    encoded: list[ModelMessage] = []
    for is_response, group in groupby(messages, lambda message: message.role is Role.ASSISTANT):
        if is_response:
            responses = (_encode_response(message, system=system) for message in group)
            encoded.extend(response for response in responses if response is not None)
        else:
            parts = [part for message in group for part in _encode_request(message)]
            encoded.append(ModelRequest(parts=parts))
    return encoded


def _encode_request(message: Message) -> list[ModelRequestPart]:
    match message.role:
        case Role.SYSTEM:
            return [SystemPromptPart(content=text_of(message.content))]
        case Role.TOOL:
            return [_tool_result(part) for part in message.content if part["type"] == "tool-result"]
        case _:
            content = [_user_content(p) for p in message.content if p["type"] in ("text", "file")]
            return [UserPromptPart(content=content)]


def _tool_result(part: Part) -> ToolReturnPart:
    return ToolReturnPart(
        tool_name=part.get("tool_name") or "tool",
        tool_call_id=part["tool_call_id"],
        content=part.get("result"),
        outcome="failed" if part.get("is_error") else "success",
    )


def _user_content(part: Part) -> UserContent:
    if part["type"] == "text":
        text: str = part["text"]
        return text
    data, media_type = part["data"], part.get("media_type") or "application/octet-stream"
    if data.startswith(("https://", "http://")):
        url_type = ImageUrl if media_type.startswith("image/") else DocumentUrl
        return url_type(url=data, media_type=media_type)
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return BinaryContent(data=base64.b64decode(data, validate=True), media_type=media_type)
    except binascii.Error as error:
        raise UnsupportedContent("A file in this chat is not valid base64.") from error


def _encode_response(message: Message, *, system: str) -> ModelResponse | None:
    parts = [
        part
        for p in message.content
        if (part := _encode_response_part(p, system=system)) is not None
    ]
    return ModelResponse(parts=parts, provider_name=system) if parts else None


def _encode_response_part(part: Part, *, system: str) -> ModelResponsePart | None:
    """Return the encoded part. Reasoning goes back only to the provider that signed it."""
    data = _provider_data(part, system=system)
    match part["type"]:
        case "text" if part["text"]:
            return TextPart(content=part["text"], **data)
        case "reasoning" if data:
            signature = part["provider"].get("signature")
            return ThinkingPart(content=part.get("text", ""), signature=signature, **data)
        case "tool-call":
            args = part.get("args") or "{}"
            return ToolCallPart(
                tool_name=part["tool_name"],
                args=args if isinstance(args, str) else json.dumps(args),
                tool_call_id=part["tool_call_id"],
                **data,
            )
        case _:
            return None


def _provider_data(part: Part, *, system: str) -> dict[str, Any]:
    """Return the data that this provider sent with the part, as keywords of a pydantic-ai part."""
    provider: Mapping[str, Any] = part.get("provider") or {}
    if provider.get("name") != system:
        return {}
    return {
        "id": provider.get("id"),
        "provider_name": system,
        "provider_details": provider.get("details"),
    }
