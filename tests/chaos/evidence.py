"""The evidence that an audit looks at: the rows of the database, and the records of a run."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from chaos.records import Effect, InjectedFault, Life, ModelCall, Picture, Request
from chatd.domain.compaction import COMPACTION_PART

Row = dict[str, Any]
ByChat = dict[str, list[Row]]

_TABLES = {
    "journal": ("chat_events", "version"),
    "messages": ("chat_messages", "id"),
    "queue": ("chat_queued_messages", "position, id"),
    "tool_calls": ("chat_tool_calls", "message_id, position"),
}
FINAL_STATUSES = frozenset({"waiting", "error"})


@dataclass(kw_only=True)
class Evidence:
    """Everything that is known when a run has ended. Rows of PostgreSQL, by chat."""

    chats: dict[str, Row] = field(default_factory=dict)
    journal: ByChat = field(default_factory=dict)
    messages: ByChat = field(default_factory=dict)
    queue: ByChat = field(default_factory=dict)
    tool_calls: ByChat = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    model_calls: list[ModelCall] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    faults: list[InjectedFault] = field(default_factory=list)
    lost_attempts: Counter[str] = field(default_factory=Counter)
    """Attempts of requests without an answer, by what came instead."""

    def deleted_chats(self) -> set[str]:
        """Return the chats that a client deleted, or may have deleted."""
        return {
            request.chat_id
            for request in self.requests
            if request.operation == "delete"
            and request.chat_id is not None
            and (request.accepted or request.lost_attempts or request.status is None)
        }

    def of_agents(self) -> dict[str, str]:
        """Return the chats that a model started, with their parents."""
        return {
            chat_id: chat["parent_chat_id"]
            for chat_id, chat in self.chats.items()
            if chat["parent_chat_id"] is not None
        }

    def is_copied(self, message: Row) -> bool:
        """Return whether a message came into its chat with the fork that made the chat."""
        journal = self.journal.get(message["chat_id"], ())
        return message["version"] == 1 and bool(journal) and journal[0]["transition"] == "fork"

    def said(self) -> ByChat:
        """Return the messages that users and models said: no summaries, and no notices of them."""
        return {
            chat_id: [row for row in rows if not (is_summary(row) or is_notice(row))]
            for chat_id, rows in self.messages.items()
        }

    def own_messages(self) -> ByChat:
        """Return what was said in its chat itself, and not copied."""
        return {
            chat_id: [row for row in rows if not self.is_copied(row)]
            for chat_id, rows in self.said().items()
        }

    def forks(self) -> dict[str, set[str]]:
        """Return the chats that were forked from each chat, those from its forks included."""
        found: dict[str, set[str]] = {}
        made = [r for r in self.requests if r.operation == "fork" and r.accepted]
        for request in reversed(made):
            fork = request.response["id"]
            found.setdefault(request.chat_id or "", set()).update({fork}, found.get(fork, ()))
        return found

    def entries(self, chat_id: str, after: int, up_to: float) -> Iterator[Row]:
        """Yield the journal entries of a chat after one version and up to another."""
        for row in self.journal.get(chat_id, ()):
            if after < row["version"] <= up_to:
                yield row


def is_summary(message: Row) -> bool:
    """Return whether a message stands for earlier ones, for the model."""
    return message["covers_until"] is not None


def is_notice(message: Row) -> bool:
    """Return whether a message tells people of a summary."""
    return any(part["type"] == COMPACTION_PART for part in message["content"])


def text_of(content: Any) -> str:
    """Return the text of a stored message."""
    return "".join(part.get("text", "") for part in content if part["type"] == "text")


def _plain(row: asyncpg.Record) -> Row:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}


async def read_rows(dsn: str) -> Evidence:
    """Return the rows of the database, all as of one moment."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        evidence = Evidence()
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for row in await connection.fetch("SELECT * FROM chats"):
                evidence.chats[str(row["id"])] = _plain(row)
            for name, (table, order) in _TABLES.items():
                rows: ByChat = getattr(evidence, name)
                for row in await connection.fetch(
                    f"SELECT * FROM {table} ORDER BY chat_id, {order}"
                ):
                    rows.setdefault(str(row["chat_id"]), []).append(_plain(row))
        return evidence
    finally:
        await connection.close()
