"""The moves that end a client's turn to act: it handed in its results, or took too long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chatd.domain.errors import (
    ChatNotFound,
    NoActionRequired,
    ToolCallUnknown,
    ToolResultsMissing,
)
from chatd.domain.failure import storable, storable_value
from chatd.domain.moves import Move
from chatd.store import rows, sql
from chatd.store.pool import Database
from chatd.store.rows import Moved

_Q = sql.load("actions")

_MOST_NAMED, _LONGEST_NAME = 10, 200
"""How many ids a refusal names, and how much of each: they are the caller's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of one call; ``result`` is any JSON value."""

    tool_call_id: str
    result: Any
    is_error: bool = False

    def given(self) -> Mapping[str, Any]:
        return {
            "tool_call_id": storable(self.tool_call_id),
            "result": storable_value(self.result),
            "is_error": self.is_error,
        }


class Actions:
    """Answer the calls of tools that a chat waits for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def submit(
        self, chat_id: UUID, *, owner_id: str | None, results: Sequence[ToolResult]
    ) -> Moved:
        """The results of all open calls of a chat; the model goes on with them.

        Raises:
            ChatNotFound, NoActionRequired, ToolCallUnknown, ToolResultsMissing
        """
        given = [result.given() for result in results]
        while True:
            row = await self._database.fetchrow(_Q["submit_tool_results"], chat_id, owner_id, given)
            if row is None:
                raise ChatNotFound(chat_id)
            match row["outcome"]:
                case "again":  # another's move went through
                    continue
                case "no_action_required":
                    raise NoActionRequired(chat_id=chat_id)
                case "unknown":
                    raise ToolCallUnknown(_naming(ToolCallUnknown, row["named"]), chat_id=chat_id)
                case "missing":
                    raise ToolResultsMissing(
                        _naming(ToolResultsMissing, row["named"]), chat_id=chat_id
                    )
            return rows.moved(row, Move.SUBMIT_TOOL_RESULTS)

    async def expire(self, *, most: int = 100) -> list[Moved]:
        """Answer the calls of chats whose client took too long, and let the model go on."""
        answer = await self._database.fetch(_Q["expire_action"], most)
        return [rows.moved(row, Move.EXPIRE_ACTION) for row in answer]


def _naming(refusal: type[Exception], ids: Sequence[str]) -> str:
    named = ", ".join(one[:_LONGEST_NAME] for one in ids[:_MOST_NAMED])
    more = "" if len(ids) <= _MOST_NAMED else f" and {len(ids) - _MOST_NAMED} more"
    return f"{refusal.__doc__} They are: {named}{more}."
