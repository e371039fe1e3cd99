"""Outputs of tools that are longer than their results."""

from dataclasses import dataclass
from uuid import UUID

from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("tool_outputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpan:
    """Some bytes of an output, of which ``kept_bytes`` are kept of ``total_bytes``."""

    data: bytes
    kept_bytes: int
    total_bytes: int


class ToolOutputs:
    """Store for reads of outputs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self,
        chat_id: UUID,
        tool_call_id: str,
        *,
        message_id: int | None = None,
        offset: int,
        length: int,
    ) -> OutputSpan | None:
        """Return a span of an output of a chat: that in a message, or the latest of this call.

        None: the chat has none of this call any more.
        """
        row = await self._database.fetchrow(
            _Q["read"],
            chat_id=chat_id,
            tool_call_id=tool_call_id,
            message_id=message_id,
            offset=offset,
            length=length,
        )
        return None if row is None else OutputSpan(**row)
