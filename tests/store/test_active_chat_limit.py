"""Limit of active chats of an owner, counted in the statement that activates one more."""

import asyncio

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.factories import MODEL, OWNER, chat_with_status, stored_rows, text_content

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import TooManyActiveChats
from chatd.store import sql
from chatd.store.chats import Chats
from chatd.store.claim_on_send import NO_CLAIM
from chatd.store.database import Database
from chatd.store.executor import NO_ACTOR
from chatd.store.files import file_parameters
from chatd.store.idempotency import NO_KEY
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.queue import Queue

WAITING = (
    "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
)
IN_FLIGHT = (Status.PENDING, Status.RUNNING, Status.INTERRUPTING, Status.REQUIRES_ACTION)


@pytest.mark.parametrize("limit", [5, 80])
async def test_limit_is_exact_for_concurrent_requests(wide: Database, limit: int) -> None:
    chats = Chats(wide, limits=lambda: ChatLimits(max_active_chats=limit))
    rest = [await chat_with_status(wide, Status.WAITING) for _ in range(limit // 2)]
    failed = [await chat_with_status(wide, Status.ERROR, queued=n % 2) for n in range(limit // 2)]
    requests = [
        *(
            chats.create(owner_id=OWNER, model_config_id=MODEL, content=text_content("go"))
            for _ in range(limit)
        ),
        *(
            chats.send(chat.id, owner_id=chat.owner_id, content=text_content("go"))
            for chat in rest + failed
        ),
    ]
    await all_connected(wide)
    answers = await asyncio.gather(*requests, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert {type(error) for error in refused} == {TooManyActiveChats}
    assert len(answers) - len(refused) == limit
    (row,) = await wide.fetch("SELECT count(*) AS n FROM chats WHERE status = 'pending'")
    assert row["n"] == limit


async def all_connected(wide: Database) -> None:
    """Have the pool open all its connections, by statements that wait until each has one."""
    async with wide.dedicated_connection() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(1)")
        waiting = [
            asyncio.create_task(wide.fetch("SELECT pg_advisory_xact_lock_shared(1)"))
            for _ in range(wide.pool_size)
        ]
        await eventually(lambda: wide.connections_in_use == wide.pool_size)
    await asyncio.gather(*waiting)


def creation(*, max_active_chats: int) -> tuple[str, tuple[object, ...]]:
    """Return the statement and the arguments that create a pending chat of the owner."""
    return sql.load("chats")["create"].bind(
        owner_id=OWNER,
        title="",
        title_by="words",
        labels={},
        server_tools=None,
        model_config_id=MODEL,
        messages=[],
        starts_turn=True,
        tools=[],
        permissions=None,
        new_chat_id=None,
        expires_in_seconds=None,
        limits={"max_active_chats": max_active_chats},
        request_traceparent=None,
        **file_parameters([]),
        **NO_KEY,
        **NO_CLAIM,
        **NO_ACTOR,
    )


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
async def test_requests_near_the_limit_are_serialized(wide: Database, ends: str) -> None:
    """A count that is read before another transition commits would be too low."""
    chats = Chats(wide, limits=lambda: ChatLimits(max_active_chats=1))
    text, args = creation(max_active_chats=1)
    async with wide.dedicated_connection() as other:
        await other.execute("BEGIN")
        await other.fetch(text, *args)
        mine = asyncio.create_task(
            chats.create(owner_id=OWNER, model_config_id=MODEL, content=text_content("go"))
        )

        await eventually(lambda: mine.done() or wide.fetch(WAITING))
        assert not mine.done()
        await chats.create(owner_id="bob", model_config_id=MODEL, content=text_content("go"))
        await other.execute(ends)
        if ends == "ROLLBACK":
            assert (await mine).chat.status == "pending"
        else:
            with pytest.raises(TooManyActiveChats):
                await mine


async def test_requests_far_from_the_limit_run_concurrently(wide: Database) -> None:
    chats = Chats(wide, limits=lambda: ChatLimits(max_active_chats=1000))
    text, args = creation(max_active_chats=1000)
    async with wide.dedicated_connection() as other:
        await other.execute("BEGIN")
        await other.fetch(text, *args)
        with anyio.fail_after(TIMEOUT_SECONDS):
            await chats.create(owner_id=OWNER, model_config_id=MODEL, content=text_content("go"))


async def test_every_busy_status_counts_and_no_other(database: Database) -> None:
    chats = Chats(database, limits=lambda: ChatLimits(max_active_chats=4))
    for status in IN_FLIGHT:
        await chat_with_status(database, status)
    for status in (Status.WAITING, Status.ERROR):
        chat = await chat_with_status(database, status)
        before = await stored_rows(database, chat)
        with pytest.raises(TooManyActiveChats, match="max_active_chats"):
            await chats.send(chat.id, owner_id=OWNER, content=text_content("go"))
        assert await stored_rows(database, chat) == before
    with pytest.raises(TooManyActiveChats):
        await chats.create(owner_id=OWNER, model_config_id=MODEL, content=text_content("go"))
    assert (await chats.create(owner_id=OWNER, model_config_id=MODEL)).chat.status == "waiting"
    other = await chats.create(owner_id="bob", model_config_id=MODEL, content=text_content("go"))
    assert other.chat.status == "pending"
    unlimited = Chats(database, limits=lambda: ChatLimits(max_active_chats=0))
    more = await unlimited.create(owner_id=OWNER, model_config_id=MODEL, content=text_content("go"))
    assert more.chat.status == "pending"


@pytest.mark.parametrize("status", IN_FLIGHT)
async def test_active_chat_takes_messages_at_the_limit(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status)
    result = await Chats(database, limits=lambda: ChatLimits(max_active_chats=1)).send(
        chat.id, owner_id=OWNER, content=text_content("more")
    )
    assert result.chat.queue_length == 1


async def test_every_transition_that_leaves_idle_is_limited(database: Database) -> None:
    """Edits, retries and promoted messages are limited too. A chat that is active already is not."""
    chats = Chats(database, limits=lambda: ChatLimits(max_active_chats=1))
    messages, queue = (
        Messages(database, limits=lambda: ChatLimits(max_active_chats=1)),
        Queue(database, limits=lambda: ChatLimits(max_active_chats=1)),
    )
    busy = await chat_with_status(database, Status.PENDING, queued=1)
    failed = await chat_with_status(database, Status.ERROR, queued=1)
    message_id, queued = (
        await first_of(database, failed, "chat_messages"),
        await first_of(database, failed, "chat_queued_messages"),
    )
    before = await stored_rows(database, failed)
    for ask in (
        chats.retry(failed.id, owner_id=OWNER),
        messages.edit(failed.id, message_id, owner_id=OWNER, content=text_content("x")),
        queue.promote(failed.id, queued, owner_id=OWNER),
    ):
        with pytest.raises(TooManyActiveChats):
            await ask
    assert await stored_rows(database, failed) == before
    message_id, queued = (
        await first_of(database, busy, "chat_messages"),
        await first_of(database, busy, "chat_queued_messages"),
    )
    await queue.promote(busy.id, queued, owner_id=OWNER)
    await messages.edit(busy.id, message_id, owner_id=OWNER, content=text_content("x"))


async def first_of(database: Database, chat: Chat, table: str) -> int:
    row = await database.fetchrow(f"SELECT min(id) AS id FROM {table} WHERE chat_id = $1", chat.id)
    assert row is not None
    return int(row["id"])
