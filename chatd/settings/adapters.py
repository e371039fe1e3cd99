"""Section of the adapters: protocols that clients of others speak."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, StringConstraints

from chatd.settings.json_types import MaybeJson
from chatd.settings.tools import ToolName, ToolParameters
from chatd.settings.types import Section


class AdapterTool(Section):
    """A tool that the client runs."""

    name: ToolName
    """Name, by which the model calls it."""
    description: Annotated[str, StringConstraints(max_length=20_000)] = ""
    """The purpose of the tool, for the model."""
    parameters: ToolParameters
    """A JSON schema of its arguments."""


class AdaptersSettings(Section):
    """Protocols that other clients speak, served beside the API."""

    enabled: MaybeJson[list[Literal["ai_sdk", "completions", "responses"]]] = Field(
        [], examples=[["ai_sdk"]]
    )
    """Protocols to serve. "ai_sdk": useChat of the AI SDK, under /ai; "completions": Chat Completions and
    the list of models, under /v1; "responses": Responses and Conversations, under /v1."""
    expire_minutes: PositiveFloat = Field(30, le=30 * 24 * 60)
    """Time after which the chat of a request that keeps none is deleted."""
    system_prompt: Annotated[str, StringConstraints(max_length=100_000)] = ""
    """System prompt of a chat that an adapter creates, if the request has none. Empty: none."""
    tools: MaybeJson[list[AdapterTool]] = Field([], max_length=64)
    """Tools of the client, of a chat that an adapter creates, if the request has none."""
    trust_system: bool = True
    """Take the system prompt of a request. If false, the one above is always used."""
