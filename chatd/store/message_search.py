"""Search in messages: the index of their words, and the pages of chats in which some are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

import asyncpg

from chatd.domain.errors import DatabaseUnsuitable
from chatd.domain.match import Match, excerpt
from chatd.domain.message import Role
from chatd.store import records, sql
from chatd.store.chat_lists import ChatFilter
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.store.searches import Searches
from chatd.telemetry.metrics import ContainmentMetrics

_Q = sql.load("search")


@dataclass(frozen=True, slots=True)
class IndexedBatch:
    """Messages that a statement looked at, and the chats that have more."""

    messages: int
    unfinished: Sequence[UUID]


class MessageSearch:
    """Store for searches in messages. ``config`` is a text search configuration of PostgreSQL."""

    def __init__(
        self,
        database: Database,
        *,
        config: str = "simple",
        searches: Searches | None = None,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._database = database
        self._config = config
        self._searches = searches or Searches(database)
        self._indexing = Containment[UUID]("search indexer", containment_metrics)
        self._reading = Containment[UUID]("chat list", containment_metrics)

    async def check(self) -> None:
        """Raise ``DatabaseUnsuitable`` if the database does not have the configuration."""
        row = await self._database.fetchrow(_Q["check_config"], config=self._config)
        if row is None or not row["found"]:
            raise DatabaseUnsuitable(
                f"The database has no text search configuration {self._config!r}, which is"
                " database.text_search_config. psql lists those that it has with \\dF."
            )

    async def index(self, chat_ids: Sequence[UUID], *, limit: int) -> IndexedBatch:
        """Index at most ``limit`` messages of some chats. A chat whose data make it fail is left out."""
        chat_ids = [chat_id for chat_id in chat_ids if not self._indexing.is_cut(chat_id)]

        async def index(batch: Sequence[UUID]) -> asyncpg.Record:
            row = await self._database.fetchrow(
                _Q["index_chats"], chat_ids=batch, limit=limit, config=self._config
            )
            assert row is not None  # noqa: S101 - it selects from nothing
            return row

        rows = await self._indexing.run(chat_ids, index, key=lambda chat_id: chat_id)
        return IndexedBatch(
            sum(row["indexed"] for row in rows),
            [chat_id for row in rows for chat_id in row["unfinished"]],
        )

    async def unindexed(self, *, first_page: int, end_page: int) -> list[UUID]:
        """Return the chats in some pages of their table that have messages to index."""
        rows = await self._database.fetch(
            _Q["unindexed_chats"], first_page=first_page, end_page=end_page
        )
        return [row["id"] for row in rows]

    async def page(
        self,
        words: str,
        *,
        owner_id: str,
        chat_filter: ChatFilter,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 50,
    ) -> list[Match]:
        """Return a page of chats with a message that has these words, newest change first.

        ``words`` is in the language of search engines: words, "phrases", OR, and - before what is not to be
        there. Titles are not searched.

        Raises:
            SearchUnavailable
        """
        before_updated_at, before_id = before or (None, None)
        parent = chat_filter.parent
        rows = await self._searches.fetch(
            _Q["search_messages"],
            words=words,
            config=self._config,
            owner_id=owner_id,
            before_updated_at=before_updated_at,
            before_id=before_id,
            limit=limit,
            only_roots=chat_filter.only_roots,
            parent_chat_id=parent if isinstance(parent, UUID) else None,
            **chat_filter.status_parameters,
            **chat_filter.label_parameters,
        )
        return self._reading.read_each(rows, _match, key=itemgetter("id"))


def _match(row: Any) -> Match:
    return Match(
        chat=records.chat(row),
        message_id=row["message_id"],
        role=Role.read(row["message_role"]),
        created_at=row["message_created_at"],
        excerpt=excerpt(row["snippet"]),
    )
