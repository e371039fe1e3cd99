"""Claim on send: one statement leaves every table as ``send`` and ``claim`` would, or as ``send`` alone.

Each case is made twice in a database that is empty otherwise, once by each way, and everything that is
stored is compared, but for ids and times.
"""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from support.claim_on_send import Case, Way
from support.eventually import eventually
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    columns_for,
    insert_chat,
    insert_models,
    text_content,
)
from support.stored_tables import empty_tables, plainly
from support.transitions import may_queue

from chatd.domain.chat import IDLE, BusyBehavior, Status
from chatd.domain.files import new_file
from chatd.domain.message import NewMessage, Role
from chatd.domain.request_actor import RequestActor
from chatd.store.commands import FinishTurn
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.turns import FencingToken, Turns

KEY = IdempotencyKey(owner_id=OWNER, key="k", request_hash=b"1")
FILE = new_file(b"bytes", media_type="text/plain", name="a.txt")
TOKEN = uuid4()
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


BY_STATUS = [
    Case(
        name=f"{status}{' with a queue' if queued else ''}, {busy}",
        claims=status in IDLE and not queued,
        status=status,
        queued=queued,
        request={"busy_behavior": busy},
    )
    for status in Status
    for queued in ((0, 2) if may_queue(status) else (0,))
    for busy in BusyBehavior
]
"""Every row of the table in every status."""

OTHERS = [
    Case(name="archived", claims=False, columns={"archived": True}),
    Case(name="another owner's", claims=False, columns={"owner_id": "bob"}),
    Case(name="other model", claims=True, request={"model_config_id": OTHER_MODEL}),
    Case(
        name="model of other workers",
        claims=False,
        request={"model_config_id": OTHER_MODEL},
        models=(MODEL,),
    ),
    Case(name="last model of other workers", claims=False, models=(OTHER_MODEL,)),
    Case(name="key", claims=True, request={"key": KEY}),
    Case(name="key of a queued message", claims=False, status=Status.RUNNING, request={"key": KEY}),
    Case(name="actor", claims=True, request={"actor": RequestActor("admin", TOKEN)}),
    Case(name="owner's token", claims=True, request={"actor": RequestActor(OWNER, TOKEN)}),
    Case(name="file", claims=True, request={"content": (FILE.reference(),), "files": (FILE,)}),
    Case(name="unstorable text", claims=True, request={"content": text_content("a\x00b\ud800")}),
    Case(name="open tool calls", claims=False, status=Status.ERROR, tool_calls=True),
    Case(name="no advance", claims=True, advance=False),
    Case(
        name="counters",
        claims=True,
        status=Status.ERROR,
        columns={"version": 40, "epoch": 7, "committed_steps": 3, "settled_part": 9, "round": 5},
    ),
    Case(
        name="lapsed",
        claims=True,
        columns={
            "committed_steps": 3,
            "lapsed_step": 3,
            "lapsed_worker_id": WORKER,
            "claim_traceparent": TRACEPARENT,
        },
    ),
    Case(
        name="lapsed before",
        claims=True,
        columns={"committed_steps": 3, "lapsed_step": 2, "claim_traceparent": TRACEPARENT},
    ),
    Case(name="last running", claims=True, running=1, limits=ChatLimits(max_running_per_owner=2)),
    Case(name="held", claims=False, running=2, limits=ChatLimits(max_running_per_owner=2)),
    Case(name="last active", claims=True, running=1, limits=ChatLimits(max_active_chats=2)),
    Case(name="too many active", claims=False, running=2, limits=ChatLimits(max_active_chats=2)),
    Case(name="full", claims=False, limits=ChatLimits(max_chat_bytes=10)),
    Case(
        name="no storage",
        claims=False,
        columns={"stored_bytes": 70_000},
        request={"content": text_content("".join(map(str, range(30_000))))},
        limits=ChatLimits(max_owner_bytes=80_000),
    ),
]

NEW_CHATS = [
    Case(name="empty", claims=False, request={"content": None}),
    Case(name="asked", claims=True),
    Case(
        name="full of everything",
        claims=True,
        request={
            "content": (FILE.reference(),),
            "files": (FILE,),
            "system_prompt": "be brief",
            "title": "a \x00 title",
            "labels": {"a": "b"},
            "tools": [{"name": "clock", "description": "", "parameters": {}}],
            "actor": RequestActor("admin", TOKEN),
        },
    ),
    Case(name="other model", claims=True, request={"model_config_id": OTHER_MODEL}),
    Case(name="model of other workers", claims=False, models=(OTHER_MODEL,)),
    Case(name="key", claims=True, request={"key": KEY}),
    Case(name="key, empty", claims=False, request={"key": KEY, "content": None}),
    Case(name="no advance", claims=True, advance=False),
    Case(name="last running", claims=True, running=1, limits=ChatLimits(max_running_per_owner=2)),
    Case(name="held", claims=False, running=2, limits=ChatLimits(max_running_per_owner=2)),
    Case(name="too many active", claims=False, running=2, limits=ChatLimits(max_active_chats=2)),
    Case(name="full", claims=False, limits=ChatLimits(max_chat_bytes=10)),
]
NEW_CHATS = [replace(case, creates=True) for case in NEW_CHATS]


async def make_running_chats(database: Database, number: int) -> None:
    for n in range(1, number + 1):
        await insert_chat(
            database,
            id=UUID(int=n),
            root_chat_id=UUID(int=n),
            **columns_for(Status.RUNNING),
        )


@pytest.mark.parametrize(
    "cases", [BY_STATUS, OTHERS, NEW_CHATS], ids=["by status", "others", "new chats"]
)
async def test_one_statement_does_what_two_do(
    database: Database, subtests: pytest.Subtests, cases: list[Case]
) -> None:
    await insert_models(database)
    for case in cases:
        outcomes = []
        for claim_on_send in (False, True):
            await empty_tables(database)
            await make_running_chats(database, case.running)
            outcomes.append(await Way(database, case).run(claim_on_send=claim_on_send))
        apart, together = outcomes
        with subtests.test(case=case.name):
            assert together.result == apart.result
            assert together.stored == apart.stored
            assert together.published == apart.published
            assert together.replayed == apart.replayed
            assert len(apart.claims) == len(together.claims) == case.claims
            for one, other in zip(apart.claims, together.claims, strict=True):
                same = plainly(one.result.chat.id)(one.result.chat)
                assert plainly(other.result.chat.id)(other.result.chat) == same
                assert one.turn_seconds_left is other.turn_seconds_left is None


async def test_history_of_the_claim_is_the_one_that_is_stored(database: Database) -> None:
    """It is known of a new chat, and of one whose history was kept at the version before."""
    case = Case(name="history", claims=True)
    way = Way(database, case)
    chats, turns = way.chats(claim_on_send=True), Turns(database, histories=way.histories)
    await insert_models(database)
    chat = (
        await chats.create(
            owner_id=OWNER,
            model_config_id=MODEL,
            content=text_content("hello"),
            system_prompt="be brief",
            tools=[{"name": "clock", "description": "", "parameters": {}}],
        )
    ).chat
    [claim] = way.claims
    assert claim.history == await turns.history(chat.id)
    fence = FencingToken(chat.id, WORKER, 1)
    answer = NewMessage(role=Role.ASSISTANT, content=text_content("well"))
    finish = FinishTurn(step=0, messages=[answer], settled_part=0)
    result = await turns.apply(fence, finish)
    assert claim.history is not None
    turns.keep_history(result.chat, claim.history.with_messages(result.model_messages))
    await chats.send(chat.id, owner_id=OWNER, content=text_content("again"))
    assert way.claims[1].history == await turns.history(chat.id)
    assert len(way.claims[1].history.messages) == 4
    assert way.histories.size == 0, "it is the task's now"
    result = await turns.apply(replace(fence, epoch=2), replace(finish, step=1))
    turns.keep_history(result.chat, way.claims[1].history.with_messages(result.model_messages))
    await chats.describe(chat.id, owner_id=OWNER, title="another version")
    await chats.send(chat.id, owner_id=OWNER, content=text_content("more"))
    assert way.claims[2].history is None, "it may have changed"


async def test_chat_that_is_locked_is_not_waited_for(database: Database) -> None:
    """Whoever has it is about to change it, so the ordinary statement waits and decides."""
    case = Case(name="locked", claims=False)
    chat = await chat_with_status(database, case.status)
    way = Way(database, case)
    async with database.dedicated_connection() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE chats SET version = version + 1")
        statements = database.statement_count
        sending = asyncio.create_task(
            way.chats(claim_on_send=True).send(
                chat.id, owner_id=OWNER, content=text_content("more")
            )
        )
        await eventually(lambda: database.statement_count == statements + 2)
        await transaction.commit()
    result = await sending
    assert way.claims == []
    assert (result.chat.status, result.chat.version) == ("pending", 3)


async def test_many_messages_to_one_chat_are_each_stored_once(database: Database) -> None:
    """One of them claims the chat. The others find it locked, newer than they saw it, or running."""
    case = Case(name="race", claims=False)
    chat = await chat_with_status(database, case.status)
    way = Way(database, case)
    chats = way.chats(claim_on_send=True)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(
                chats.send(chat.id, owner_id=OWNER, content=text_content(str(number)))
            )
    versions = await database.fetch("SELECT version, transition FROM chat_events ORDER BY version")
    assert [row["version"] for row in versions] == list(range(2, 2 + len(versions)))
    stored = await database.fetch(
        "SELECT content FROM chat_messages WHERE version > 1"
        " UNION ALL SELECT content FROM chat_queued_messages"
    )
    texts = sorted(int(row["content"][0]["text"]) for row in stored)
    assert texts == list(range(20))
    assert len(way.claims) <= 1
