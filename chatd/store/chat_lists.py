"""Lists of an owner's chats: pages, and what has changed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Final, Literal
from uuid import UUID

import asyncpg

from chatd.domain.chat import Chat, Status
from chatd.domain.chat_list import ChangeBatch, ChatChange, ListQuery
from chatd.store import records, sql
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.store.searches import Searches
from chatd.telemetry.metrics import ContainmentMetrics

_Q = sql.load("chat_lists")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFilter:
    """Conditions on the chats of a list, all of which must hold.

    ``labels`` are pairs of a name and a value, ``label_names`` match any value. ``parent`` is the chat that
    started them, or ``"none"`` for root chats. ``title_contains`` ignores case.
    """

    archived: bool | None = None
    statuses: Sequence[Status] = ()
    labels: Sequence[tuple[str, str]] = ()
    label_names: Sequence[str] = ()
    parent: UUID | Literal["none"] | None = None
    title_contains: str | None = None

    @property
    def is_search(self) -> bool:
        """True if a page may have to skip many chats."""
        rare = (self.statuses, self.labels, self.label_names, self.title_contains)
        return any(rare) or self.only_roots

    @property
    def status_parameters(self) -> Mapping[str, object]:
        """The parameters by which each query of a list is filtered."""
        return {
            "archived": self.archived,
            "statuses": [status.value for status in self.statuses] or None,
        }

    @property
    def label_parameters(self) -> Mapping[str, object]:
        """The parameters of a query that is filtered by labels."""
        return {
            "labels": [{name: value} for name, value in self.labels],
            "label_names": list(self.label_names),
        }

    @property
    def only_roots(self) -> bool:
        """True if no other chat started them."""
        return self.parent == "none"


NO_FILTER = ChatFilter()

_MAX_PAGE_READS: Final = 10
"""Reads of one page, if chats of it cannot be read."""


class ChatLists:
    """Store for reads of chat lists. Each list belongs to one owner."""

    def __init__(
        self,
        database: Database,
        *,
        searches: Searches | None = None,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._database = database
        self._searches = searches or Searches(database)
        self._containment = Containment[UUID]("chat list", containment_metrics)

    async def page(
        self,
        *,
        owner_id: str,
        chat_filter: ChatFilter = NO_FILTER,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 50,
    ) -> list[Chat]:
        """Return a page of chats, newest change first. ``before`` is the last chat of the previous page.

        Chats that cannot be read are left out, and others take their places.
        """
        chats: list[Chat] = []
        for _ in range(_MAX_PAGE_READS):
            missing = limit - len(chats)
            rows = await self._page_rows(owner_id, chat_filter, before, missing)
            chats += self._containment.read_each(rows, records.chat, key=itemgetter("id"))
            if len(chats) == limit or len(rows) < missing:
                break
            before = (rows[-1]["updated_at"], rows[-1]["id"])
        return chats

    async def _page_rows(
        self,
        owner_id: str,
        chat_filter: ChatFilter,
        before: tuple[datetime, UUID] | None,
        limit: int,
    ) -> Sequence[asyncpg.Record]:
        before_updated_at, before_id = before or (None, None)
        values: dict[str, object] = {
            "owner_id": owner_id,
            "before_updated_at": before_updated_at,
            "before_id": before_id,
            "limit": limit,
            **chat_filter.status_parameters,
        }
        matching: dict[str, object] = {
            **chat_filter.label_parameters,
            "title_contains": chat_filter.title_contains or None,
        }
        if isinstance(chat_filter.parent, UUID):
            query = _Q["page_of_children"]
            values |= {"parent_chat_id": chat_filter.parent, **matching}
        elif any(matching.values()):
            query = _Q["page_matching"]
            values |= {"only_roots": chat_filter.only_roots, **matching}
        else:
            query = _Q["page"]
            values |= {"only_roots": chat_filter.only_roots}
        if chat_filter.is_search:
            return await self._searches.fetch(query, **values)
        return await self._database.fetch(query, **values)

    async def changed_since(
        self, queries: Sequence[ListQuery], *, limit: int = 500
    ) -> Mapping[str, ChangeBatch]:
        """Return what was changed or deleted in several lists, by owner, in one statement."""
        known_versions = {
            str(chat_id): version
            for query in queries
            for chat_id, version in query.known_versions.items()
        }
        rows = await self._database.fetch(
            _Q["changed_since"],
            owner_ids=[query.owner_id for query in queries],
            since=[query.since for query in queries],
            known_versions=known_versions,
            limit=limit,
        )
        by_owner: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            by_owner.setdefault(row["list_owner_id"], []).append(row)
        return {
            owner_id: self._change_batch(changed, limit) for owner_id, changed in by_owner.items()
        }

    def _change_batch(self, rows: Sequence[asyncpg.Record], limit: int) -> ChangeBatch:
        changed_rows = [row for row in rows if row["changed_at"] is not None]
        changes = self._containment.read_each(changed_rows, _chat_change, key=itemgetter("id"))
        changes.sort(key=lambda change: change.changed_at)
        is_complete = len(changed_rows) < limit or not changes
        return ChangeBatch(rows[0]["read_at"], changes, is_complete=is_complete)


def _chat_change(row: asyncpg.Record) -> ChatChange:
    if row["deleted_id"] is not None:
        return ChatChange.deleted(row["deleted_id"], row["changed_at"])
    return ChatChange.from_chat(records.chat(row))
