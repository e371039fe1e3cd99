"""Messages of any role that a caller stores: the history of a new chat, or more of one's own."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag
from typing_extensions import TypeAliasType

from chatd.api.schema.content import Content, SentContent, TextInput, sent_content
from chatd.api.schema.tools import ToolResultInput
from chatd.api.schema.types import (
    MAX_ITEMS,
    MAX_TEXT_LENGTH,
    FewItems,
    RequestModel,
    Sanitized,
    Text,
    ToolCallId,
)
from chatd.domain.given_history import find_history_fault
from chatd.domain.message import NewMessage, Part, Role


def _check_arguments(value: str) -> str:
    try:
        is_object = isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise ValueError("must be a JSON object")
    return value


_ToolName = Annotated[str, StringConstraints(min_length=1, max_length=200), Sanitized]
"""The worker stores names of tools in no more characters."""


class ToolCallInput(RequestModel):
    """A tool call that an assistant made. Its result is in the next message."""

    type: Literal["tool-call"]
    tool_call_id: ToolCallId = Field(examples=["call_1"])
    tool_name: _ToolName = Field(examples=["weather"])
    args: Annotated[
        str,
        StringConstraints(max_length=MAX_TEXT_LENGTH),
        Sanitized,
        AfterValidator(_check_arguments),
    ] = Field(default="{}", description="A JSON object.", examples=['{"city": "Bern"}'])


class ToolResultPartInput(ToolResultInput):
    """The result of a tool call of the message before."""

    type: Literal["tool-result"]
    tool_name: _ToolName = Field(examples=["weather"])


_AnswerPart = Annotated[
    Annotated[TextInput, Tag("text")] | Annotated[ToolCallInput, Tag("tool-call")],
    Discriminator("type"),
]


class SystemMessageInput(RequestModel):
    """Instructions for the model."""

    role: Literal[Role.SYSTEM]
    content: Text = Field(examples=["Be brief."])


class UserMessageInput(RequestModel):
    """A message of the user, which is not answered for itself."""

    role: Literal[Role.USER]
    content: Content = Field(examples=["Why is the sky blue?"])


class AssistantMessageInput(RequestModel):
    """An answer of a model: a text, or a list of parts."""

    role: Literal[Role.ASSISTANT]
    content: (
        Text | Annotated[list[_AnswerPart], Field(min_length=1, max_length=MAX_ITEMS), FewItems]
    ) = Field(examples=["Air scatters blue light most."])


class ToolMessageInput(RequestModel):
    """The results of all tool calls of the message before."""

    role: Literal[Role.TOOL]
    content: Annotated[
        list[ToolResultPartInput], Field(min_length=1, max_length=MAX_ITEMS), FewItems
    ]


AnyMessageInput: TypeAlias = (
    SystemMessageInput | UserMessageInput | AssistantMessageInput | ToolMessageInput
)
MessageInput = TypeAliasType(
    "MessageInput",
    Annotated[
        AnyMessageInput,
        Field(title="MessageInput", discriminator="role", description="A message of any role."),
    ],
)


_NO_CALLS = SentContent(({"type": "text", "text": ""},))
"""Content in place of a user's, in which neither calls nor results can be."""


def _check_calls(messages: list[AnyMessageInput]) -> list[AnyMessageInput]:
    history = [
        _message(each, _NO_CALLS if isinstance(each, UserMessageInput) else None)
        for each in messages
    ]
    if fault := find_history_fault(history):
        raise ValueError(fault)
    return messages


MessageInputs = Annotated[
    list[MessageInput],
    Field(max_length=MAX_ITEMS),
    AfterValidator(_check_calls),
    FewItems,
]


def contents_of_users(messages: Sequence[AnyMessageInput]) -> list[SentContent]:
    """Return the contents of the messages of the user, which may have files."""
    return [_content(each) for each in messages if isinstance(each, UserMessageInput)]


def given_messages(
    messages: Sequence[AnyMessageInput], of_users: Sequence[SentContent]
) -> list[NewMessage]:
    """Return messages to store, with the contents of those of the user as they were checked."""
    checked = iter(of_users)
    return [
        _message(each, next(checked) if isinstance(each, UserMessageInput) else None)
        for each in messages
    ]


def _message(given: AnyMessageInput, checked: SentContent | None = None) -> NewMessage:
    content = checked or _content(given)
    return NewMessage(role=given.role, content=content.parts, files=content.files)


def _content(given: AnyMessageInput) -> SentContent:
    content: Any = given.content
    if isinstance(given, UserMessageInput):
        return sent_content(content)
    parts: list[Part] = (
        [{"type": "text", "text": content}]
        if isinstance(content, str)
        else [part.model_dump() for part in content]
    )
    return SentContent(tuple(parts))
