"""Section of the chats that a model starts from its own."""

from pydantic import Field, PositiveFloat, PositiveInt

from chatd.settings.types import Section


class AgentsSettings(Section):
    """Chats that a model starts from its own: agents, which work for it and answer it."""

    enabled: bool = False
    """Offer models the tools to start agents, to wait for them, and to send them messages."""
    default: bool = True
    """Offer them to chats that do not choose their built-in tools. false: only to those that name
    "agents"."""
    max_depth: PositiveInt = Field(2, le=10)
    """Maximum generations below a chat that a person started. Agents of the last one start no others."""
    max_children: PositiveInt = Field(8, le=100)
    """Maximum agents that one chat has started and not deleted."""
    max_family: PositiveInt = Field(32, le=1000)
    """Maximum chats of one family: a chat that a person started, and all below it."""
    max_wait_seconds: PositiveFloat = 3600
    """Time for which a chat waits for its agents at once. Its model may wait again."""
    max_answer_characters: PositiveInt = Field(48_000, ge=1000, le=1_000_000)
    """Characters of answers that one result has, of all its agents together, in equal shares. The rest of a
    longer answer is left out."""
