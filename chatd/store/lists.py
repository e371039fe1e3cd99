"""Lists of an owner's chats: pages of them, and what was touched since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg

from chatd.domain.chat import Chat, Status
from chatd.domain.listing import ChangeBatch, ChatChange, ListQuery
from chatd.store import rows, sql
from chatd.store.pool import Database

_Q = sql.load("lists")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which chats of a list; all that is given must hold.

    ``labels`` are pairs of a name and a value, ``label_names`` only have to be there. ``parent`` is the
    chat that started them, or none: nobody did. ``words`` stand in the title, in any case.
    """

    archived: bool | None = None
    statuses: Sequence[Status] = ()
    labels: Sequence[tuple[str, str]] = ()
    label_names: Sequence[str] = ()
    parent: UUID | Literal["none"] | None = None
    words: str | None = None


ALL = Filters()


class Lists:
    """Reads of whole lists. Each belongs to one owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        *,
        owner_id: str,
        filters: Filters = ALL,
        before: tuple[datetime, UUID] | None = None,
        most: int = 50,
    ) -> list[Chat]:
        """A page of chats, most recently touched first; ``previous`` is the last one of the page before."""
        place = (owner_id, *(before or (None, None)), most)
        plain = (filters.archived, [status.value for status in filters.statuses] or None)
        matching = (
            [{name: value} for name, value in filters.labels],
            list(filters.label_names),
            filters.words or None,
        )
        roots = filters.parent == "none"
        if isinstance(filters.parent, UUID):
            query, args = "page_of_children", (*place, *plain, filters.parent, *matching)
        elif any(matching):
            query, args = "page_matching", (*place, *plain, roots, *matching)
        else:
            query, args = "page", (*place, *plain, roots)
        return [rows.chat(row) for row in await self._database.fetch(_Q[query], *args)]

    async def touched(
        self, places: Sequence[ListQuery], *, most: int = 500
    ) -> Mapping[str, ChangeBatch]:
        """What was touched or deleted in several lists, by owner, in one statement."""
        known = {
            str(key): version for place in places for key, version in place.known_versions.items()
        }
        answer = await self._database.fetch(
            _Q["touched"],
            [place.owner_id for place in places],
            [place.since for place in places],
            known,
            most,
        )
        found: dict[str, list[asyncpg.Record]] = {}
        for row in answer:
            found.setdefault(row["watched"], []).append(row)
        return {owner_id: _seen(of_owner, most) for owner_id, of_owner in found.items()}

    async def forget_tombstones(self, *, days: float, most: int = 5000) -> int:
        """Drop deletions past their retention; the number says whether there may be more."""
        return len(await self._database.fetch(_Q["forget_tombstones"], days, most))


def _seen(found: Sequence[asyncpg.Record], most: int) -> ChangeBatch:
    touches = [_touch(row) for row in found if row["at"] is not None]
    touches.sort(key=lambda touch: touch.changed_at)
    return ChangeBatch(found[0]["read_at"], touches, is_complete=len(touches) < most)


def _touch(row: asyncpg.Record) -> ChatChange:
    if row["gone"] is not None:
        return ChatChange.deleted(row["gone"], row["at"])
    return ChatChange.from_chat(rows.chat(row))
