"""Bodies of requests about chats and their messages.

About the examples beside the fields, see ``resources``.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from chatd.api.schema.content import Content
from chatd.api.schema.given_messages import MessageInputs
from chatd.api.schema.resources import MessageId
from chatd.api.schema.tools import (
    PERMISSION_MODE,
    TOOL_RULES,
    ServerTools,
    ToolRules,
    Tools,
    stored_permissions,
)
from chatd.api.schema.types import (
    MAX_TEXT_LENGTH,
    Labels,
    ModelName,
    RequestModel,
    Sanitized,
    Title,
)
from chatd.domain.chat import BusyBehavior
from chatd.domain.permission import PermissionMode

MAX_INSTRUCTIONS_LENGTH = 4_000
"""Instructions are read beside the history that they are about, by a model that has little room left."""
Instructions = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_INSTRUCTIONS_LENGTH), Sanitized
]
MAX_EXPIRY_SECONDS = 30 * 86_400
"""Thirty days. Nobody finds such a chat in a list, from which it could be deleted earlier."""
SystemPrompt = Annotated[str, StringConstraints(max_length=MAX_TEXT_LENGTH), Sanitized]


_DERIVED_VERSION = 5
"""UUIDs that are hashes: of agents, and of chats that adapters know by other names. A caller who could
choose such an id would take it before the chat that it is of."""


def _check_chosen(value: UUID) -> UUID:
    if value.version == _DERIVED_VERSION:
        raise ValueError("must not be a UUID of version 5; choose a random one")
    return value


ChatId = Annotated[
    UUID,
    AfterValidator(_check_chosen),
    Field(json_schema_extra={"pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[1-46-8][0-9a-f]{3}-"}),
]


class CreateChat(RequestModel):
    """A new chat. Without a title, it has the first words of its first message as its title."""

    id: ChatId | None = Field(
        default=None,
        description="The id of the chat, not of version 5. If you have a chat with this id, or had one, "
        "none is created. Default: a random one.",
    )
    content: Content | None = Field(
        default=None,
        description="The first message. Without one the chat waits for it.",
        examples=["Why is the sky blue?"],
    )
    messages: MessageInputs = Field(
        default_factory=list,
        description="A history that stands before `content`, with which it is answered. It may be one that "
        "another program has kept.",
        examples=[[]],
    )
    title: Title = Field(default="", examples=["The sky"])
    model: ModelName | None = Field(default=None, description="A name of `GET /models`.")
    system_prompt: SystemPrompt | None = Field(
        default=None,
        description="Instructions for the model, stored as the first message with the role `system`. "
        "They cannot be changed later.",
    )
    labels: Labels = Field(default_factory=dict, examples=[{"topic": "physics"}])
    tools: Tools = Field(default_factory=list)
    server_tools: ServerTools | None = Field(
        default=None,
        description="The chat's choice. Without one, it has what is offered by default.",
    )
    permission_mode: PermissionMode = PERMISSION_MODE
    tool_rules: ToolRules = TOOL_RULES
    expires_in_seconds: int | None = Field(
        default=None,
        ge=1,
        le=MAX_EXPIRY_SECONDS,
        description="Delete the chat then, or when it is idle next. Such a chat is in no list or search. "
        "Default: it is kept until it is deleted.",
        examples=[3600],
    )

    def permissions(self) -> Mapping[str, Any] | None:
        """Return the permissions as they are stored."""
        is_default = self.permission_mode is PermissionMode.DEFAULT and not self.tool_rules
        return None if is_default else stored_permissions(self.permission_mode, self.tool_rules)


class ForkChat(RequestModel):
    """A new chat made of another one's history."""

    from_message_id: MessageId | None = Field(
        default=None,
        description="The last message to copy. Default: the last one that there is.",
        examples=[2_000_001],
    )
    title: Title | None = Field(default=None, description="Default: the title of the other chat.")
    labels: Labels | None = Field(
        default=None, description="Default: the labels of the other chat."
    )


class AppendMessages(RequestModel):
    """Messages to store at the end of a history."""

    messages: MessageInputs = Field(min_length=1)


class CompactChat(RequestModel):
    """A summary of the history that the model is to be shown in its place."""

    instructions: Instructions | None = Field(
        default=None,
        description="For the model that writes the summary: what it is to keep.",
        examples=["Keep the names of all files."],
    )


class UpdateChat(RequestModel):
    """Changes of a chat. A field that is left out stays as it is."""

    title: Title | None = Field(default=None, examples=["The sky"])
    labels: Labels | None = Field(
        default=None, description="All labels. They replace the old ones."
    )
    archived: bool | None = Field(
        default=None, description="An archived chat takes no messages.", examples=[True]
    )
    permission_mode: PermissionMode | None = Field(
        default=None,
        description="As of a new chat, for calls that begin later. What was remembered is forgotten.",
        examples=["ask"],
    )
    tool_rules: ToolRules | None = Field(
        default=None,
        description="All rules. They replace the old ones, and what was remembered is forgotten.",
        examples=[None],
    )

    def permissions(self) -> Mapping[str, Any] | None:
        """Return the changed permissions as they are stored. None: they stay."""
        return stored_permissions(self.permission_mode, self.tool_rules) or None


class SendMessage(RequestModel):
    """A message of the user."""

    content: Content = Field(examples=["And why is it red at night?"])
    model: ModelName | None = Field(
        default=None,
        description="A name of `GET /models`, for this message and later ones. Default: the chat's model.",
    )
    busy_behavior: BusyBehavior = Field(
        default=BusyBehavior.QUEUE,
        description="Behavior if the chat is busy.",
        examples=["queue"],
    )
    tools: Tools | None = Field(
        default=None,
        description="Tools that the client runs. They replace those of the chat at once. Default: they "
        "stay.",
        examples=[None],
    )


class EditMessage(RequestModel):
    """The new content of a message."""

    content: Content = Field(examples=["Why is the sea blue?"])
