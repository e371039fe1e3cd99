"""A page of a list of chats, with what was found in their messages."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from chatd.api.schema.resources import Chat, Page
from chatd.domain.match import Match
from chatd.domain.message import Role


class Excerpt(BaseModel):
    """A piece of an excerpt, as plain text: what was found, or text around it."""

    text: str = Field(examples=["sky"])
    matches: bool = Field(examples=[True])


class MessageMatch(BaseModel):
    """The newest message of a chat in which the words were found."""

    message_id: int = Field(examples=[1_000_001])
    role: Role = Field(examples=["user"])
    created_at: datetime = Field(examples=["2026-01-01T12:00:00Z"])
    excerpt: list[Excerpt] = Field(
        description="Pieces of the text around what was found. Joined, they have 400 characters at most.",
        examples=[
            [
                {"text": "Why is the ", "matches": False},
                {"text": "sky", "matches": True},
                {"text": " blue?", "matches": False},
            ]
        ],
    )

    @classmethod
    def from_domain(cls, match: Match) -> Self:
        return cls(
            message_id=match.message_id,
            role=match.role,
            created_at=match.created_at,
            excerpt=[Excerpt(text=each.text, matches=each.matches) for each in match.excerpt],
        )


class ChatListPage(Page[Chat]):
    """A page of a list of chats."""

    model_config = ConfigDict(json_schema_extra={"description": "A page of a list of chats."})

    matches: dict[str, MessageMatch] = Field(
        default_factory=dict,
        description="By the ids of the chats: what was found in their messages. Empty unless `in` is "
        "`messages`.",
        examples=[{}],
    )
