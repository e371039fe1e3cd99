"""Families: chats that others start, and the wait for them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import asyncpg

from chatd.domain.agent_words import AGENT_STATES
from chatd.domain.agents import Agent, Spawn, SpawnRefusal
from chatd.domain.errors import LeaseLost, SpawnRefused
from chatd.domain.permission import ChatPermissions
from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult, message_rows
from chatd.store.titles import title_parameters
from chatd.store.turns import FencingToken
from chatd.telemetry import tracing
from chatd.telemetry.metrics import ContainmentMetrics

_Q = sql.load("families")

_PAGE_SIZE: Final = 100
"""Parked chats that one sweep looks at. Most are woken by a hint, and a look at each costs some 50 us."""


@dataclass(frozen=True, slots=True)
class PagePlace:
    """The last parked chat of a page: its deadline and its id."""

    deadline: datetime
    chat_id: UUID


@dataclass(frozen=True, slots=True)
class Woken:
    """Chats that wait no longer, and where a sweep goes on. None: it has seen all."""

    chats: Sequence[TransitionResult]
    place: PagePlace | None = None


class Children:
    """Store for chats that start others and wait for them.

    Nothing here waits for the lock of one chat while it holds that of another, but in the order of ids.
    """

    def __init__(
        self,
        database: Database,
        *,
        limits: Callable[[], ChatLimits] = ChatLimits,
        listener: CommitListener = NO_LISTENER,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._containment = Containment[UUID]("waker", containment_metrics)
        self._database = database
        self._listener = listener
        self._limits = limits

    async def spawn(self, fence: FencingToken, spawn: Spawn) -> TransitionResult:
        """Start a chat for the chat that a worker holds. A repeated call returns the same one.

        The new chat does not count against the owner's limit of active chats.

        Raises:
            LeaseLost, SpawnRefused
        """
        limits = self._limits()
        while True:
            row = await self._database.fetchrow(
                _Q["spawn"],
                chat_id=fence.chat_id,
                worker_id=fence.worker_id,
                epoch=fence.epoch,
                child_id=spawn.id,
                messages=message_rows(spawn.messages),
                **title_parameters(spawn.title, spawn.messages[-1].content),
                model_config_id=spawn.model_config_id,
                server_tools=replace_unstorable_json(spawn.server_tools),
                limits=limits.of_owner,
                family_limits=limits.of_family,
                request_traceparent=tracing.current_traceparent(),
            )
            if row is None:
                raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)
            if row["outcome"] == "done":
                return self._listener.committed(row, Transition.CREATE)
            if row["outcome"] != "stale":
                raise SpawnRefused(reason=SpawnRefusal(row["outcome"]))

    async def agents(
        self, chat_id: UUID, ids: Collection[UUID] | None = None, *, limit: int = 100
    ) -> list[Agent]:
        """Return descendants of a chat in the order in which they were started: all, or those of ``ids``.

        An id that is of no descendant is left out.
        """
        rows = await self._database.fetch(
            _Q["agents"],
            chat_id=chat_id,
            ids=None if ids is None else list(ids),
            limit=limit,
            max_characters=self._limits().max_answer_characters,
            words=AGENT_STATES,
        )
        return [Agent(**row) for row in rows]

    async def permissions_above(self, chat_id: UUID) -> tuple[ChatPermissions, ...]:
        """Return the permissions of the chats above one, but for those that have none of their own."""
        rows = await self._database.fetch(_Q["permissions_above"], chat_id=chat_id)
        return tuple(ChatPermissions.read(row["permissions"]) for row in rows)

    async def wake(
        self,
        root_ids: Collection[UUID] = (),
        *,
        sweeps: bool = False,
        after: PagePlace | None = None,
        limit: int = 25,
    ) -> Woken:
        """Make parked chats pending whose wait is over: those of some families, or of a sweep.

        A sweep looks at those whose time is over, and at a page of all others ``after`` the last one.
        """
        page: list[PagePlace] = []

        async def wake(only: Sequence[UUID] | None) -> Sequence[asyncpg.Record]:
            rows = await self._database.fetch(
                _Q["wake"],
                root_ids=list(root_ids),
                sweeps=sweeps,
                after_deadline=after and after.deadline,
                after_id=after and after.chat_id,
                page_size=_PAGE_SIZE,
                limit=limit,
                max_characters=self._limits().max_answer_characters,
                words=AGENT_STATES,
                limits=self._limits().of_owner,
                excluded=self._containment.cut_keys,
                only=only,
            )
            if rows[0]["page_id"] is not None:
                page[:] = [PagePlace(rows[0]["page_deadline"], rows[0]["page_id"])]
            return [row for row in rows if row["id"] is not None]

        async def parked() -> Sequence[UUID]:
            rows = await self._database.fetch(
                _Q["parked"], limit=_PAGE_SIZE, excluded=self._containment.cut_keys
            )
            return [row["id"] for row in rows]

        found = await self._containment.run_or_split(wake, parked, key=lambda one: one)
        chats = self._containment.read_each(found, self._to_woken, key=itemgetter("id"))
        return Woken(chats, page[0] if page else None)

    def _to_woken(self, row: Any) -> TransitionResult:
        return self._listener.committed(row, Transition.WAKE)
