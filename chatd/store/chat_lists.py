"""Lists of an owner's chats: pages of them, and what was touched since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg

from chatd.domain.chat import Chat, Status
from chatd.domain.chat_list import ChangeBatch, ChatChange, ListQuery
from chatd.store import records, sql
from chatd.store.database import Database

_Q = sql.load("chat_lists")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFilter:
    """Which chats of a list; all that is given must hold.

    ``check_labels`` are pairs of a name and a value, ``label_names`` only have to be there. ``parent_pid`` is the
    chat that started them, or none: nobody did. ``title_contains`` stand in the title, in any case.
    """

    archived: bool | None = None
    statuses: Sequence[Status] = ()
    labels: Sequence[tuple[str, str]] = ()
    label_names: Sequence[str] = ()
    parent: UUID | Literal["none"] | None = None
    title_contains: str | None = None


NO_FILTER = ChatFilter()


class ChatLists:
    """Reads of whole lists. Each belongs to one owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        *,
        owner_id: str,
        chat_filter: ChatFilter = NO_FILTER,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 50,
    ) -> list[Chat]:
        """A page of chats, most recently touched first; ``before`` is the last one of the page before."""
        before_updated_at, before_id = before or (None, None)
        values: dict[str, object] = {
            "owner_id": owner_id,
            "before_updated_at": before_updated_at,
            "before_id": before_id,
            "limit": limit,
            "archived": chat_filter.archived,
            "statuses": [status.value for status in chat_filter.statuses] or None,
        }
        matching: dict[str, object] = {
            "labels": [{name: value} for name, value in chat_filter.labels],
            "label_names": list(chat_filter.label_names),
            "title_contains": chat_filter.title_contains or None,
        }
        if isinstance(chat_filter.parent, UUID):
            query = _Q["page_of_children"]
            values |= {"parent_chat_id": chat_filter.parent, **matching}
        elif any(matching.values()):
            query = _Q["page_matching"]
            values |= {"only_roots": chat_filter.parent == "none", **matching}
        else:
            query = _Q["page"]
            values |= {"only_roots": chat_filter.parent == "none"}
        return [records.chat(row) for row in await self._database.fetch(query, **values)]

    async def changed_since(
        self, queries: Sequence[ListQuery], *, limit: int = 500
    ) -> Mapping[str, ChangeBatch]:
        """What was touched or deleted in several lists, by owner, in one statement."""
        known_versions = {
            str(chat_id): version
            for query in queries
            for chat_id, version in query.known_versions.items()
        }
        answer = await self._database.fetch(
            _Q["changed_since"],
            owner_ids=[query.owner_id for query in queries],
            since=[query.since for query in queries],
            known_versions=known_versions,
            limit=limit,
        )
        found: dict[str, list[asyncpg.Record]] = {}
        for row in answer:
            found.setdefault(row["list_owner_id"], []).append(row)
        return {owner_id: _change_batch(of_owner, limit) for owner_id, of_owner in found.items()}

    async def prune_tombstones(self, *, retention_days: float, limit: int = 5000) -> int:
        """Drop deletions past their retention; the number says whether there may be more."""
        return len(
            await self._database.fetch(
                _Q["prune_tombstones"], retention_days=retention_days, limit=limit
            )
        )


def _change_batch(changed_rows: Sequence[asyncpg.Record], limit: int) -> ChangeBatch:
    touches = [_chat_change(row) for row in changed_rows if row["changed_at"] is not None]
    touches.sort(key=lambda touch: touch.changed_at)
    return ChangeBatch(changed_rows[0]["read_at"], touches, is_complete=len(touches) < limit)


def _chat_change(row: asyncpg.Record) -> ChatChange:
    if row["deleted_id"] is not None:
        return ChatChange.deleted(row["deleted_id"], row["changed_at"])
    return ChatChange.from_chat(records.chat(row))
