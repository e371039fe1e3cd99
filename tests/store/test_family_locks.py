"""Locks of families: no statement waits for a chat in a cycle, whatever many parents wait for."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import permutations
from uuid import UUID

import pytest
from support.claims import claim_chats
from support.concurrency import gather_all, row_locked, wait_until_blocked
from support.factories import OWNER, chat_with_status, text_content
from support.families import child_of, fence_of, finish, park, spawn_of
from support.invariants import check_calls

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import ChatNotFound, ChatTreeBusy, LeaseLost, Refused, SpawnRefused
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.database import Database
from chatd.store.limits import ChatLimits

CYCLES = """
WITH RECURSIVE waits AS (
    SELECT w.pid, unnest(pg_blocking_pids(w.pid)) AS blocker
    FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted
          AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())) w
), reach AS (
    SELECT pid, blocker FROM waits
    UNION
    SELECT reach.pid, waits.blocker FROM reach JOIN waits ON waits.pid = reach.blocker
)
SELECT count(*) FROM reach WHERE pid = blocker
"""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
PARENTS = 100
NO_LIMITS = ChatLimits(max_depth=9, max_children=1000, max_family=1000)


class LockWatch:
    """Watch of all locks of a database while some work runs. PostgreSQL leaves a cycle for a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.looks = self.cycles = 0

    async def run(self, work: Awaitable[object]) -> None:
        ended = asyncio.Event()
        before = (await self._database.fetch(DEADLOCKS))[0]["deadlocks"]

        async def watched() -> None:
            await work
            ended.set()

        await gather_all(watched(), self._look_until(ended))
        await self._database.fetch("SELECT pg_stat_clear_snapshot()")
        assert (await self._database.fetch(DEADLOCKS))[0]["deadlocks"] == before
        assert self.cycles == 0

    async def _look_until(self, ended: asyncio.Event) -> None:
        async with self._database.dedicated_connection() as connection:
            while not ended.is_set():
                self.looks += 1
                self.cycles += await connection.fetchval(CYCLES)
                await asyncio.sleep(0.005)


async def test_parents_that_wait_for_each_others_children_all_go_on(wide: Database) -> None:
    """Each waits for the child of the next one and of a random one, while many wake them at once."""
    chance = random.Random(1)
    root = await chat_with_status(wide, Status.WAITING)
    parents = [await child_of(root, wide, Status.RUNNING) for _ in range(PARENTS)]
    children = [await child_of(parent, wide, Status.RUNNING) for parent in parents]
    store = Children(wide)
    woken: list[UUID] = []

    async def wait(number: int) -> None:
        others = [children[(number + 1) % PARENTS], chance.choice(children)]
        await park(wide, parents[number], *{other.id for other in others})

    async def end(child: Chat) -> None:
        await finish(wide, child)
        woken.extend(result.chat.id for result in (await store.wake([root.id])).chats)

    async def work() -> None:
        await gather_all(*map(wait, range(PARENTS)), *map(end, children))
        while found := (await store.wake(sweeps=True)).chats:
            woken.extend(result.chat.id for result in found)

    watch = LockWatch(wide)
    await watch.run(work())
    assert watch.looks > 1
    assert sorted(woken) == sorted(parent.id for parent in parents), "each once"
    assert len(await claim_chats(wide, 2 * PARENTS)) == PARENTS


WHOLE_FAMILIES: Mapping[str, Callable[[Chats, UUID], Awaitable[object]]] = {
    "interrupt": lambda chats, chat_id: chats.interrupt(chat_id, owner_id=OWNER),
    "archive": lambda chats, chat_id: chats.archive(chat_id, owner_id=OWNER),
    "delete": lambda chats, chat_id: chats.delete(chat_id, owner_id=OWNER),
}
"""The statements that lock all chats of a family."""


@pytest.mark.parametrize(("first", "second"), [*permutations(WHOLE_FAMILIES, 2)])
async def test_whole_families_are_locked_in_one_order(
    wide: Database, first: str, second: str
) -> None:
    """The first holds some of the chats and waits for one in the middle. The second begins meanwhile."""
    root = await chat_with_status(wide, Status.WAITING)
    family = [root, *[await child_of(root, wide, Status.WAITING) for _ in range(8)]]
    middle = sorted(family, key=lambda chat: chat.id)[4]
    chats = Chats(wide)

    async def work() -> None:
        async with row_locked(wide, middle) as connection, asyncio.TaskGroup() as tasks:
            for waiting, name in ((1, first), (2, second)):
                tasks.create_task(_unless_deleted(WHOLE_FAMILIES[name](chats, root.id)))
                await wait_until_blocked(connection, waiting)
            await connection.execute("COMMIT")
            await connection.execute("BEGIN")

    await LockWatch(wide).run(work())


async def _unless_deleted(work: Awaitable[object]) -> None:
    with suppress(ChatNotFound, ChatTreeBusy):
        await work


async def test_everything_that_happens_to_families_at_once_ends(wide: Database) -> None:
    """Starts, waits, ends, messages, stops and deletions of deep families, in any order."""
    chance = random.Random(2)
    roots = [await chat_with_status(wide, Status.RUNNING) for _ in range(4)]
    members = [*roots]
    for number in range(36):
        parent = members[number]
        members.append(await child_of(parent, wide, Status.RUNNING))
    await LockWatch(wide).run(gather_all(*_acts(wide, members, roots, chance)))
    for chat in await wide.fetch("SELECT * FROM chats"):
        messages = await wide.fetch(
            "SELECT * FROM chat_messages WHERE chat_id = $1 ORDER BY id", chat["id"]
        )
        ledger = await wide.fetch(
            "SELECT * FROM chat_tool_calls WHERE chat_id = $1 ORDER BY message_id, position",
            chat["id"],
        )
        check_calls(chat, messages, ledger)


def _acts(
    database: Database, members: Sequence[Chat], roots: Sequence[Chat], chance: random.Random
) -> list[Awaitable[None]]:
    chats, children = Chats(database), Children(database, limits=lambda: NO_LIMITS)
    agents = Children(database, limits=lambda: ChatLimits(max_running_per_owner=40))

    async def act(work: Callable[[], Awaitable[object]]) -> None:
        with suppress(LeaseLost, ChatNotFound, SpawnRefused, Refused):
            await work()

    acts: list[Callable[[], Awaitable[object]]] = []
    for number in range(240):
        chat, other = chance.choice(members), chance.choice(members)
        root = chance.choice(roots[1:])
        choices: list[Callable[[], Awaitable[object]]] = [
            lambda chat=chat, n=number: children.spawn(fence_of(chat), spawn_of(f"s{n}")),
            lambda chat=chat, other=other: park(database, chat, other.id),
            lambda chat=chat: finish(database, chat),
            lambda root=root: agents.wake([root.id], sweeps=True),
            lambda chat=chat, other=other: chats.send(
                other.id, owner_id=OWNER, content=text_content("x"), caller=fence_of(chat)
            ),
            lambda chat=chat: chats.send(
                chat.id,
                owner_id=OWNER,
                content=text_content("x"),
                busy_behavior=BusyBehavior.INTERRUPT,
            ),
            lambda chat=chat: chats.interrupt(chat.id, owner_id=OWNER),
            lambda root=root: chats.archive(root.id, owner_id=OWNER),
        ]
        acts.append(chance.choice(choices))
        if number % 40 == 39:
            acts.append(
                lambda chat=members[-1 - number // 40]: chats.delete(chat.id, owner_id=OWNER)
            )
    acts.append(lambda: chats.delete(roots[0].id, owner_id=OWNER))
    return [act(each) for each in acts]
