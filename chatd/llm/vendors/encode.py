"""Encoder: an acceptable history → pydantic-ai's messages. Imported late, see ``pydantic_ai``."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

from pydantic_ai.messages import (
    BinaryContent,
    Citation,
    ContentCitationAnchor,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    NativeToolCallPart,
    NativeToolReturnPart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
    WebCitationSource,
)

from chatd.domain.message import NATIVE_PART_TYPES, Part
from chatd.llm.vendors.history import AnswerTurn, History, UserTurn, joined_text

_OURS = datetime.fromtimestamp(0, UTC)
"""Timestamp of the parts that come from the chat, which sets them apart from those of pydantic-ai."""


Placeholder: TypeAlias = Callable[[UUID, int], bytes]
"""Function that returns what stands for a file of this id and size until the request is sent."""


def encode_history(
    history: History, *, system: str, text_as_string: bool, placeholder: Placeholder
) -> list[ModelMessage]:
    """Return the history as alternating requests and responses.

    The results of tools and what the user says next are one request.

    ``system`` is pydantic-ai's name of the provider that will read it. With ``text_as_string`` the texts
    of a user turn without a file are joined.
    """
    encoded: list[ModelMessage] = []
    for turn in history.turns:
        match turn:
            case UserTurn(parts):
                prompt = _user_prompt(parts, placeholder, text_as_string=text_as_string)
                if encoded and isinstance(results := encoded[-1], ModelRequest):
                    results.parts = [*results.parts, prompt]
                else:
                    encoded.append(ModelRequest(parts=[prompt]))
            case AnswerTurn(parts, tool_results):
                response = [_response_part(part, system=system) for part in parts]
                encoded.append(ModelResponse(parts=response, provider_name=system))
                if tool_results:
                    returns = [_tool_return(part, placeholder) for part in tool_results]
                    encoded.append(ModelRequest(parts=returns))
    first = encoded[0]
    if history.system and isinstance(first, ModelRequest):
        first.parts = [SystemPromptPart(content=history.system, timestamp=_OURS), *first.parts]
    return encoded


def without_notes(messages: list[ModelMessage]) -> list[ModelMessage]:
    """Return the messages without what ``prepare_messages`` added to the user's requests.

    It puts a note beside text that looks like a frame of pydantic-ai's own (``<system>``). chatd sends no
    such frames, and a note is one more user message, which not every provider takes at that place.
    """
    return [
        ModelRequest(
            parts=[part for part in message.parts if getattr(part, "timestamp", None) == _OURS]
        )
        if isinstance(message, ModelRequest)
        else message
        for message in messages
    ]


def _user_prompt(
    parts: list[Part], placeholder: Placeholder, *, text_as_string: bool
) -> UserPromptPart:
    text = joined_text(parts) if text_as_string else None
    content = [_user_content(part, placeholder) for part in parts] if text is None else text
    return UserPromptPart(content=content, timestamp=_OURS)


def _user_content(part: Part, placeholder: Placeholder) -> UserContent:
    if part["type"] == "text":
        text: str = part["text"]
        return text
    data = placeholder(UUID(part["file_id"]), part["size"])
    return BinaryContent(data=data, media_type=part["media_type"])


def _tool_return(part: Part, placeholder: Placeholder) -> ToolReturnPart:
    files = [_user_content(file, placeholder) for file in part.get("files", ())]
    return ToolReturnPart(
        tool_name=part["tool_name"],
        tool_call_id=part["tool_call_id"],
        content=[part["text"], *files] if files else part["text"],
        timestamp=_OURS,
        outcome="failed" if part["is_error"] else "success",
    )


def _response_part(part: Part, *, system: str) -> ModelResponsePart:
    state = part.get("provider") or {}
    if part["type"] in NATIVE_PART_TYPES:
        return _native_part(part, state, system=system)
    data: dict[str, Any] = {}
    if state:
        data = {
            "id": state.get("id"),
            "provider_name": system,
            "provider_details": state.get("details"),
        }
    match part["type"]:
        case "text":
            cited = _cited(part["text"]) if "citations" in (state.get("details") or {}) else None
            return TextPart(content=part["text"], citations=cited, **data)
        case "reasoning":
            return ThinkingPart(
                content=part.get("text", ""), signature=state.get("signature"), **data
            )
        case _:
            return ToolCallPart(
                tool_name=part["tool_name"],
                args=part["args"],
                tool_call_id=part["tool_call_id"],
                **data,
            )


def _cited(text: str) -> list[Citation]:
    """Return what tells pydantic-ai that citations are of the whole text, which nobody changed."""
    anchor = ContentCitationAnchor(start=0, end=len(text))
    return [Citation([WebCitationSource(url="")], anchor=anchor)]


def _native_part(
    part: Part, state: Mapping[str, Any], *, system: str
) -> NativeToolCallPart | NativeToolReturnPart:
    data: dict[str, Any] = {
        "tool_name": part["tool_name"],
        "tool_call_id": state["id"],
        "provider_name": system,
        "provider_details": state.get("details"),
    }
    if part["type"] == "native-tool-call":
        return NativeToolCallPart(args=part.get("args") or None, **data)
    return NativeToolReturnPart(content=state["content"], timestamp=_OURS, **data)
