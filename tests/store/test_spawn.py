"""Chats that others start: once for each call, within the limits of the family, never after a stop."""

from typing import Any

import asyncpg
import pytest
from support.claims import claim_chats
from support.concurrency import gather_all
from support.factories import MODEL, OTHER_MODEL, OWNER, chat_with_status, text_content
from support.families import child_of, fence_of, spawn_of
from support.stored_messages import visible_texts

from chatd.domain.agents import SpawnRefusal
from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import LeaseLost, SpawnRefused, TooManyActiveChats
from chatd.domain.permission import ChatPermissions
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.limits import ChatLimits

PERMISSIONS = {"mode": "ask", "rules": [{"tools": "a*", "permission": "deny"}]}


async def running(database: Database, **columns: Any) -> Chat:
    return await chat_with_status(database, Status.RUNNING, **columns)


async def test_child_has_what_is_its_parents(database: Database) -> None:
    parent = await running(
        database,
        server_tools={"mcp": ["time"]},
        permissions={**PERMISSIONS, "remembered": {"b": "allow"}},
    )
    published: list[Any] = []
    listener = CommitListener(on_commit=lambda entries, owner: published.append((entries, owner)))
    children = Children(database, listener=listener)
    result = await children.spawn(fence_of(parent), spawn_of(prompt="find it", title="finder"))
    child = result.chat
    assert (child.parent_chat_id, child.root_chat_id) == (parent.id, parent.id)
    assert (child.owner_id, child.title, child.status) == (OWNER, "finder", Status.PENDING)
    assert (child.last_model_config_id, child.server_tools) == (MODEL, {"mcp": ["time"]})
    assert (child.permissions, child.labels) == (ChatPermissions.read(PERMISSIONS), {})
    assert await visible_texts(database, child) == ["find it"]
    assert [entries for entries, _ in published] == [[result.entry]]
    assert result.entry is not None
    assert result.entry.data["parent_chat_id"] == str(parent.id)
    (claim,) = await claim_chats(database, 10)
    assert claim.result.chat.id == child.id


async def test_child_has_its_own_model_and_tools(database: Database) -> None:
    parent = await running(database, server_tools={"mcp": ["time", "mail"]})
    spawn = spawn_of(model_config_id=OTHER_MODEL, server_tools={"mcp": ["time"]})
    child = (await Children(database).spawn(fence_of(parent), spawn)).chat
    assert (child.last_model_config_id, child.server_tools) == (OTHER_MODEL, {"mcp": ["time"]})


async def test_repeated_call_starts_no_other_chat(database: Database) -> None:
    parent = await running(database)
    children = Children(database, limits=lambda: ChatLimits(max_children=1))
    first = await children.spawn(fence_of(parent), spawn_of())
    again = await children.spawn(fence_of(parent), spawn_of(prompt="another prompt"))
    assert (again.chat.id, again.entry) == (first.chat.id, None)
    assert await visible_texts(database, first.chat) == ["go"]
    (row,) = await database.fetch("SELECT version FROM chats WHERE id = $1", parent.id)
    assert row["version"] == parent.version, "the parent is as it was"


async def test_tries_of_one_call_at_the_same_time_start_one_chat(wide: Database) -> None:
    parent = await running(wide)
    children = Children(wide)
    results = await gather_all(*(children.spawn(fence_of(parent), spawn_of()) for _ in range(12)))
    assert len({result.chat.id for result in results}) == 1
    assert sum(result.entry is not None for result in results) == 1
    assert await wide.fetch("SELECT FROM chats WHERE parent_chat_id IS NOT NULL") == [()]


async def refusal(children: Children, parent: Chat, call_id: str = "refused") -> Any:
    with pytest.raises(SpawnRefused) as refused:
        await children.spawn(fence_of(parent), spawn_of(call_id))
    return refused.value.context["reason"]


@pytest.mark.parametrize("max_depth", [1, 2, 3])
async def test_depth_of_a_family_is_limited(database: Database, max_depth: int) -> None:
    children = Children(database, limits=lambda: ChatLimits(max_depth=max_depth))
    last = await running(database)
    for depth in range(1, max_depth + 1):
        await children.spawn(fence_of(last), spawn_of(f"s{depth}"))
        last = await child_of(last, database, Status.RUNNING)
    assert await refusal(children, last) is SpawnRefusal.TOO_DEEP


async def test_limits_hold_when_calls_come_at_the_same_time(wide: Database) -> None:
    """A chat counts its children, and a family its chats, whichever of them starts one."""
    root = await running(wide)
    parents = [root, *[await child_of(root, wide, Status.RUNNING) for _ in range(3)]]
    limits = ChatLimits(max_children=5, max_family=12)
    children = Children(wide, limits=lambda: limits)

    async def spawn(number: int) -> SpawnRefusal | None:
        try:
            await children.spawn(fence_of(parents[number % 4]), spawn_of(f"s{number}"))
        except SpawnRefused as refused:
            reason: SpawnRefusal = refused.context["reason"]
            return reason
        return None

    outcomes = await gather_all(*(spawn(number) for number in range(40)))
    assert outcomes.count(None) == 12 - len(parents)
    assert SpawnRefusal.FAMILY_TOO_LARGE in outcomes
    counts = await wide.fetch(
        "SELECT count(*) FROM chats WHERE parent_chat_id IS NOT NULL GROUP BY parent_chat_id"
    )
    assert max(row["count"] for row in counts) <= 5


async def test_children_of_one_chat_are_limited(database: Database) -> None:
    parent = await running(database)
    children = Children(database, limits=lambda: ChatLimits(max_children=2))
    for number in range(2):
        await children.spawn(fence_of(parent), spawn_of(f"s{number}"))
    assert await refusal(children, parent, "s2") is SpawnRefusal.TOO_MANY_CHILDREN


async def test_large_prompts_are_refused(database: Database) -> None:
    parent = await running(database)
    children = Children(database, limits=lambda: ChatLimits(max_chat_bytes=10))
    assert await refusal(children, parent) is SpawnRefusal.CHAT_FULL


@pytest.mark.parametrize("stale", ["worker_id", "epoch", "status"])
async def test_stale_worker_starts_no_chat(database: Database, stale: str) -> None:
    parent = await running(database)
    changes = {
        "worker_id": "worker_id = gen_random_uuid()",
        "epoch": "epoch = epoch + 1",
        "status": "status = 'interrupting'",
    }
    await database.fetch(f"UPDATE chats SET {changes[stale]} WHERE id = $1", parent.id)
    with pytest.raises(LeaseLost):
        await Children(database).spawn(fence_of(parent), spawn_of())
    assert len(await database.fetch("SELECT FROM chats")) == 1


async def test_children_do_not_count_against_the_limit_of_their_owner(database: Database) -> None:
    """A limit of one chat leaves a chat its agents, and a person no second chat."""
    limits = ChatLimits(max_active_chats=1)
    parent = await running(database)
    child = (
        await Children(database, limits=lambda: limits).spawn(fence_of(parent), spawn_of())
    ).chat
    chats = Chats(database, limits=lambda: limits)
    with pytest.raises(TooManyActiveChats):
        await chats.create(owner_id=OWNER, model_config_id=MODEL, content=text_content("hello"))
    await chats.interrupt(child.id, owner_id=OWNER)
    sent = await chats.send(
        child.id,
        owner_id=OWNER,
        content=text_content("more"),
        busy_behavior=BusyBehavior.REJECT,
        caller=fence_of(parent),
    )
    assert sent.chat.status is Status.PENDING


async def test_child_is_held_while_enough_chats_of_its_owner_run(database: Database) -> None:
    parent = await running(database)
    limits = ChatLimits(max_running_per_owner=1)
    await Children(database, limits=lambda: limits).spawn(fence_of(parent), spawn_of())
    (row,) = await database.fetch("SELECT held FROM chats WHERE parent_chat_id IS NOT NULL")
    assert row["held"]


async def test_parent_that_is_deleted_meanwhile_starts_no_chat(wide: Database) -> None:
    """Whichever comes first, no chat is left without its parent, and each is reported as deleted."""
    for number in range(10):
        root = await running(wide)
        parent = await child_of(root, wide, Status.RUNNING)
        deleted: list[Any] = []
        listener = CommitListener(on_delete=lambda *row, deleted=deleted: deleted.append(row))

        async def spawn(chat: Chat, call_id: str) -> Any:
            try:
                return await Children(wide).spawn(fence_of(chat), spawn_of(call_id))
            except LeaseLost:
                return None

        spawned, _, _ = await gather_all(
            spawn(parent, f"s{number}"),
            Chats(wide, listener=listener).delete(root.id, owner_id=OWNER),
            spawn(root, f"r{number}"),
        )
        assert await wide.fetch("SELECT FROM chats WHERE root_chat_id = $1", root.id) == []
        if spawned is not None:
            assert spawned.chat.id in {row[0] for row in deleted}


async def test_family_constraints(database: Database) -> None:
    parent = await running(database)
    with pytest.raises(asyncpg.CheckViolationError, match="chat_tool_calls_parked_wait"):
        await database.fetch(
            "WITH message AS (SELECT id FROM chat_messages WHERE chat_id = $1)"
            " INSERT INTO chat_tool_calls (chat_id, message_id, tool_call_id, tool_name, executor,"
            " state, epoch) SELECT $1, id, 'c', 'w', 'server', 'parked', 0 FROM message",
            parent.id,
        )


async def test_id_of_a_call_that_is_taken_by_another_chat_gives_no_agent(
    database: Database,
) -> None:
    """Callers choose ids of chats, and one may know what the id of an agent is going to be."""
    parent = await running(database)
    other = await chat_with_status(
        database, Status.WAITING, id=spawn_of().id, root_chat_id=spawn_of().id, owner_id="bob"
    )
    for owner in ("bob", OWNER):
        await database.fetch("UPDATE chats SET owner_id = $2 WHERE id = $1", other.id, owner)
        with pytest.raises(SpawnRefused) as refused:
            await Children(database).spawn(fence_of(parent), spawn_of())
        assert refused.value.context["reason"] is SpawnRefusal.ID_TAKEN
