"""Chats that wait for others: what wakes them, what they learn then, and what does not."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.claims import claim_chats
from support.concurrency import row_locked
from support.factories import MODEL, OWNER, chat_with_status, insert_models, text_content
from support.families import (
    child_of,
    fence_of,
    finish,
    park,
    reread,
    result_of_wait,
    spawn_of,
    wake_all,
)
from support.stored_messages import insert_message

from chatd.domain.agent_words import AGENT_STATES
from chatd.domain.chat import Status
from chatd.store.chats import Chats
from chatd.store.children import Children, PagePlace
from chatd.store.commands import FinishTurn
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.stats import DatabaseStats
from chatd.store.turns import Turns

BUSY = sorted({*Status} - {Status.WAITING, Status.ERROR})


async def test_park_releases_the_lease_until_a_deadline(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING, recoveries=2, attempts=1)
    child = await child_of(parent, database, Status.PENDING)
    result = await park(database, parent, child.id, seconds=60)
    parked = result.chat
    assert (parked.status, parked.worker_id, parked.recoveries) == (Status.PARKED, None, 0)
    assert parked.action_deadline is not None
    assert 59 < (parked.action_deadline - parked.updated_at).total_seconds() < 61
    assert result.entry is not None
    assert result.entry.data["parked"][0]["waits_for"] == [str(child.id)]
    assert await wake_all(database) == []
    assert (await reread(database, parent)).version == parked.version


@pytest.mark.parametrize("for_all", [True, False], ids=["all", "any"])
@pytest.mark.parametrize("status", BUSY)
async def test_busy_chat_keeps_another_one_waiting(
    database: Database, status: Status, for_all: bool
) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    child = await child_of(parent, database, status)
    await park(database, parent, child.id, for_all=for_all)
    assert parent.id not in [chat.id for chat in await wake_all(database)]


@pytest.mark.parametrize("end", ["waiting", "error", "deleted", "archived"])
@pytest.mark.parametrize("for_all", [True, False], ids=["all", "any"])
async def test_wait_is_over_when_chats_are_idle(
    database: Database, end: str, for_all: bool
) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    status = Status.ERROR if end == "error" else Status.WAITING
    child = await child_of(parent, database, status, archived=end == "archived")
    other = await child_of(parent, database, Status.RUNNING)
    await park(database, parent, child.id, *([] if for_all else [other.id]), for_all=for_all)
    if end == "deleted":
        await Chats(database).delete(child.id, owner_id=OWNER)
    (woken,) = await wake_all(database)
    assert (woken.id, woken.status, woken.action_deadline) == (parent.id, Status.PENDING, None)
    result = await result_of_wait(database, parent)
    assert result["timed_out"] is False
    states = [agent["state"] for agent in result["agents"]]
    words = {"archived": "waiting"}
    expected = [AGENT_STATES[words.get(end, end)], *([] if for_all else ["working"])]
    assert states == expected
    assert await wake_all(database) == [], "once"


async def test_all_waits_for_the_last_one(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    children = [await child_of(parent, database, Status.RUNNING) for _ in range(3)]
    await park(database, parent, *(child.id for child in children))
    for child in children[:2]:
        await finish(database, child)
        assert await wake_all(database, parent.id) == []
    await finish(database, children[2])
    assert [chat.id for chat in await wake_all(database, parent.id)] == [parent.id]


async def test_parent_learns_what_each_child_said_last(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    said = await child_of(parent, database, Status.RUNNING, title="sayer", input_tokens=3)
    failed = await child_of(parent, database, Status.ERROR)
    silent = await child_of(parent, database, Status.WAITING)
    busy = await child_of(parent, database, Status.PENDING)
    await insert_message(database, busy, "assistant", "an older answer")
    await insert_message(database, said, "assistant", "first")
    await finish(database, said, "x" * 7 + "y" * 5)
    other = await chat_with_status(database, Status.WAITING)
    ids = [said.id, failed.id, silent.id, busy.id, other.id]
    await park(database, parent, *ids, for_all=False)
    children = Children(database, limits=lambda: ChatLimits(max_answer_characters=7))
    await children.wake([parent.id])
    result = await result_of_wait(database, parent)
    tokens = {"input_tokens": 0, "output_tokens": 0}
    assert result["agents"] == [
        {
            "id": str(said.id),
            "name": "sayer",
            "state": "idle",
            "answer": "xxxxxxx",
            "answer_characters": 12,
            **tokens,
            "input_tokens": 3,
        },
        {"id": str(failed.id), "state": "failed", "error": "it brok", **tokens},
        {"id": str(silent.id), "state": "idle", **tokens},
        {"id": str(busy.id), "state": "working", **tokens},
        {"id": str(other.id), "state": "deleted"},
    ]


async def test_time_of_a_wait_ends_it(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    child = await child_of(parent, database, Status.RUNNING)
    await park(database, parent, child.id, seconds=0)
    (woken,) = await wake_all(database)
    assert woken.id == parent.id
    result = await result_of_wait(database, parent)
    assert (result["timed_out"], result["agents"][0]["state"]) == (True, "working")


async def test_family_of_others_is_not_looked_at_by_a_hint(database: Database) -> None:
    parents = [await chat_with_status(database, Status.RUNNING) for _ in range(2)]
    for parent in parents:
        await park(database, parent, uuid4())
    assert [chat.id for chat in await wake_all(database, parents[1].id)] == [parents[1].id]
    assert [chat.id for chat in await wake_all(database)] == [parents[0].id]


PARK_MANY = """
WITH made AS (
    INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, action_deadline)
    SELECT id, id, 'ann', '{model}', 'parked', clock_timestamp() + n * interval '1 minute'
    FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, {count}) n) made
    RETURNING id, action_deadline
), messages AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT id, chat_message_id(1, 1), 1, 'assistant', '[]' FROM made RETURNING chat_id, id
)
INSERT INTO chat_tool_calls (chat_id, message_id, tool_call_id, tool_name, executor, state, epoch,
                             waits_for, wait_for_all, wake_at)
SELECT chat_id, messages.id, 'w', 'wait_agent', 'server', 'parked', 0, ARRAY[chat_id], true,
       action_deadline
FROM messages JOIN made ON made.id = chat_id
"""
"""Chats that wait for themselves, and so for their deadlines."""


async def test_sweeps_look_at_all_parked_chats_page_by_page(database: Database) -> None:
    """A chat whose hint was lost is found however many wait longer than others."""
    await insert_models(database)
    await database.fetch(PARK_MANY.format(model=MODEL, count=230))
    await database.fetch(
        "UPDATE chat_tool_calls SET waits_for = '{}' WHERE chat_id ="
        " (SELECT id FROM chats ORDER BY action_deadline DESC LIMIT 1)"
    )
    children, place, pages = Children(database), None, []
    for _ in range(4):
        woken = await children.wake(sweeps=True, after=place)
        pages.append(len(woken.chats))
        place = woken.place
    assert pages == [0, 0, 1, 0]


async def test_sweep_wakes_the_overdue_before_its_page(database: Database) -> None:
    await insert_models(database)
    await database.fetch(PARK_MANY.format(model=MODEL, count=120))
    parent = await chat_with_status(database, Status.RUNNING)
    await park(database, parent, parent.id, seconds=0)
    place = PagePlace(datetime(2099, 1, 1, tzinfo=UTC), UUID(int=0))
    woken = await Children(database).wake(sweeps=True, after=place)
    assert [result.chat.id for result in woken.chats] == [parent.id]


async def test_chat_that_changes_meanwhile_is_left_to_the_next_run(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    await park(database, parent, uuid4())
    async with row_locked(database, parent):
        assert await wake_all(database) == [], "it is not waited for"
    assert len(await wake_all(database)) == 1


async def test_ends_and_waits_are_reported_of_families_alone(database: Database) -> None:
    roots: list[Any] = []
    turns = Turns(database, listener=CommitListener(on_family_idle=roots.append))
    alone = await chat_with_status(database, Status.RUNNING)
    parent = await chat_with_status(database, Status.RUNNING)
    child = await child_of(parent, database, Status.RUNNING)
    end = {"messages": [], "settled_part": 0, "step": 0}
    await turns.apply(fence_of(alone), FinishTurn(**end))
    assert roots == []
    await park(database, parent, child.id, turns=turns)
    assert roots == [parent.id], "the child may have ended already"
    await turns.apply(fence_of(child), FinishTurn(**end))
    assert roots == [parent.id] * 2


async def test_parked_chats_run_not_against_the_limit_of_their_owner(database: Database) -> None:
    """With one chat at a time, a family of three generations goes on, each in its turn."""
    limits = ChatLimits(max_running_per_owner=1)
    turns, children = (
        Turns(database, limits=lambda: limits),
        Children(database, limits=lambda: limits),
    )
    root = await chat_with_status(database, Status.RUNNING)
    middle = (await children.spawn(fence_of(root), spawn_of())).chat
    await park(database, root, middle.id, turns=turns)
    (claimed,) = await claim_chats(database, 10)
    middle = claimed.result.chat
    last = (await children.spawn(fence_of(middle), spawn_of("s2"))).chat
    assert await claim_chats(database, 10) == []
    await park(database, middle, last.id, turns=turns)
    for expected, following in ((last, middle), (middle, root)):
        (claimed,) = await claim_chats(database, 10)
        assert claimed.result.chat.id == expected.id
        await finish(database, claimed.result.chat)
        woken = await children.wake([root.id])
        assert [result.chat.id for result in woken.chats] == [following.id]


async def test_queued_message_waits_for_the_end_of_the_wait(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    child = await child_of(parent, database, Status.RUNNING)
    await park(database, parent, child.id)
    sent = await Chats(database).send(parent.id, owner_id=OWNER, content=text_content("and this"))
    assert (sent.chat.status, sent.chat.queue_length) == (Status.PARKED, 1)
    await finish(database, child)
    (woken,) = await wake_all(database)
    assert (woken.status, woken.queue_length) == (Status.PENDING, 1)


async def test_stats_count_parked_chats(database: Database) -> None:
    await chat_with_status(database, Status.PARKED)
    stats = await DatabaseStats(database, lease_seconds=20).collect()
    assert stats.chats[Status.PARKED] == 1


async def test_agents_are_the_descendants_of_a_chat(database: Database) -> None:
    root = await chat_with_status(database, Status.RUNNING)
    child = await child_of(root, database, Status.WAITING, title="one")
    grandchild = await child_of(child, database, Status.PENDING)
    stranger = await chat_with_status(database, Status.WAITING)
    children = Children(database)
    agents = await children.agents(root.id)
    assert [(agent.id, agent.depth) for agent in agents] == [(child.id, 1), (grandchild.id, 2)]
    assert (agents[0].result["name"], agents[1].result["state"]) == ("one", "working")
    assert [agent.id for agent in await children.agents(child.id)] == [grandchild.id]
    chosen = await children.agents(child.id, [root.id, grandchild.id, stranger.id])
    assert [agent.id for agent in chosen] == [grandchild.id]
