"""Claim on send: when a process claims a chat with its message, and when it leaves it to the line."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest
from support.batches import counted_statements
from support.eventually import eventually
from support.factories import text_content
from support.in_process import InProcessDaemon, fetch_rows, running_daemon
from support.metrics import scrape
from support.providers import HeldProvider

from chatd.domain.chat import Status
from chatd.domain.failure import unreadable_failure
from chatd.domain.hint import RESYNC, Hint
from chatd.store.claims import ClaimBatch
from chatd.store.database import Database

HELLO = text_content("hello")


def claims_on_send(chatd: InProcessDaemon) -> float:
    return chatd.daemon.services.metrics.turns.claims_on_send.values[()]


async def claim_order(database: Database) -> list[str]:
    rows = await fetch_rows(
        database,
        "SELECT chat_id FROM chat_events WHERE transition = 'claim' ORDER BY created_at, chat_id",
    )
    return [str(row["chat_id"]) for row in rows]


async def test_idle_process_claims_with_the_message(dsn: str) -> None:
    """The response is that of the message alone, and no claim is looked for."""
    async with running_daemon(dsn, worker={"poll_seconds": 600}) as chatd:
        chat = await chatd.api.create()
        await chatd.wait_until_no_chat_waits()
        claims = chatd.daemon.services.store.claims
        claims.claim = not_called  # type: ignore[method-assign]
        sent = await chatd.api.send(chat["id"], "hello")
        assert (sent["chat"]["status"], sent["chat"]["version"]) == ("pending", 2)
        assert sent["message"]["id"] == 2_000_002
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert [
            (e["transition"], e["status"], e["version"]) for e in await chatd.journal(chat["id"])
        ] == [
            ("create", "waiting", 1),
            ("send", "pending", 2),
            ("claim", "running", 3),
            ("finish_turn", "waiting", 4),
        ]
        assert await chatd.api.texts(chat["id"]) == ["You said: hello"]
        assert (await scrape(chatd)).sum_of("chatd_claims_on_send_total") == 1
        [turn] = chatd.logged("chat.turn")
        assert "request_id" not in turn, "its task is not part of the request"


async def not_called(*_: object, **__: object) -> Any:
    raise AssertionError("no chat waits")


async def test_new_messages_never_overtake_chats_that_wait(dsn: str, database: Database) -> None:
    """One slot, and always several chats that wait for it. Each gets it in the order of the messages."""
    held = HeldProvider()
    async with running_daemon(dsn, held, worker={"max_chats": 1}) as chatd:
        await chatd.wait_until_no_chat_waits()
        sent = []

        async def send() -> None:
            chat = await chatd.api.create()
            await chatd.api.send(chat["id"], "hello")
            sent.append(chat["id"])

        for _ in range(4):
            await send()
        await eventually(lambda: held.running_count == 1)
        assert claims_on_send(chatd) == 1
        for ended in range(1, 9):
            held.go.set()
            held.go = anyio.Event()
            if ended < 6:
                await send()  # when a slot is free, or is about to be

            await eventually(lambda n=ended: held.running_count == 1 and len(held.requests) > n)
        held.go.set()
        assert await claim_order(database) == sent
        assert held.max_running_count == 1


@pytest.mark.parametrize(
    "hint", [Hint(uuid4(), 2, Status.PENDING), RESYNC], ids=["pending", "resync"]
)
async def test_last_slot_is_for_the_chat_of_a_hint(dsn: str, hint: Hint) -> None:
    async with running_daemon(dsn, worker={"poll_seconds": 600, "max_chats": 1}) as chatd:
        await chatd.wait_until_no_chat_waits()
        go = hold_claims(chatd)
        chat, other = [(await chatd.api.create())["id"] for _ in range(2)]
        claimer = chatd.daemon.actors.worker.claimer  # type: ignore[union-attr]
        claimer.handle_hint(hint)
        await chatd.api.send(chat, "hello")
        assert claims_on_send(chatd) == 0, "the hint may be of a chat that waits"
        await eventually(lambda: claimer._waiting._in_claim)
        await chatd.api.send(other, "hello")
        assert claims_on_send(chatd) == 0, "the claim under way may find one"
        go.set()
        for chat_id in (chat, other):
            await chatd.api.wait_for_status(chat_id, "waiting")
        await eventually(lambda: claimer._waiting.at_most == 0)


async def test_message_takes_a_slot_that_no_announced_chat_needs(dsn: str) -> None:
    """A process under load is told of chats all the time, and still claims with the message."""
    async with running_daemon(dsn, worker={"poll_seconds": 600, "max_chats": 2}) as chatd:
        await chatd.wait_until_no_chat_waits()
        go = hold_claims(chatd)
        chat_id = (await chatd.api.create())["id"]
        claimer = chatd.daemon.actors.worker.claimer  # type: ignore[union-attr]
        claimer.handle_hint(Hint(uuid4(), 2, Status.PENDING))
        await eventually(lambda: claimer._waiting._in_claim == 1)
        await chatd.api.send(chat_id, "hello")
        assert claims_on_send(chatd) == 1
        await chatd.api.wait_for_status(chat_id, "waiting")
        go.set()


def hold_claims(chatd: InProcessDaemon) -> anyio.Event:
    """Have claims of the line wait for the event that is returned."""
    claims = chatd.daemon.services.store.claims
    claim, go = claims.claim, anyio.Event()

    async def slow_claim(*args: Any, **values: Any) -> ClaimBatch:
        await go.wait()
        return await claim(*args, **values)

    claims.claim = slow_claim  # type: ignore[method-assign]
    return go


async def test_slots_are_reserved_before_the_statement(dsn: str) -> None:
    """However many messages come at once, no more chats run than there are slots."""
    held = HeldProvider()
    async with running_daemon(dsn, held, worker={"max_chats": 3}) as chatd:
        chats = [(await chatd.api.create())["id"] for _ in range(12)]
        await chatd.wait_until_no_chat_waits()
        async with asyncio.TaskGroup() as group:
            for chat_id in chats:
                group.create_task(chatd.api.send(chat_id, "hello"))
        await eventually(lambda: held.running_count == 3)
        assert 0 < claims_on_send(chatd) <= 3
        assert chatd.daemon.chat_tasks.free_slots == 0
        held.go.set()
        for chat_id in chats:
            await chatd.api.wait_for_status(chat_id, "waiting")
        assert held.max_running_count == 3
        await eventually(lambda: chatd.daemon.chat_tasks.free_slots == 3)


async def test_turns_at_the_same_time_take_less_than_a_statement_each(dsn: str) -> None:
    """Sixteen of them: one statement for the messages, and a few for the ends and the hints."""
    held = HeldProvider()
    async with running_daemon(dsn, held, worker={"poll_seconds": 600}) as chatd:
        chats = [UUID((await chatd.api.create())["id"]) for _ in range(16)]
        await chatd.wait_until_no_chat_waits()
        store, database = chatd.daemon.services.store, chatd.daemon.services.database
        with counted_statements(database) as counts:
            async with asyncio.TaskGroup() as group:
                for chat_id in chats:
                    group.create_task(store.chats.send(chat_id, owner_id="local", content=HELLO))
            await eventually(lambda: held.running_count == 16)
            held.go.set()
            await eventually(lambda: not chatd.daemon.chat_tasks.leases)  # type: ignore[union-attr]
        assert claims_on_send(chatd) == 16
        assert counts["claims.send_and_claim"] == 1
        turns = counts["claims.send_and_claim"] + counts["turns.finish_turn"]
        assert turns + counts["notifications.notify"] + counts["turns.history"] < 16


async def test_worker_offers_no_slot_that_it_may_not_fill(dsn: str) -> None:
    held = HeldProvider()
    async with running_daemon(dsn, held, worker={"poll_seconds": 600, "max_chats": 2}) as chatd:
        chat_id = UUID((await chatd.api.create())["id"])
        await chatd.wait_until_no_chat_waits()
        chats, worker = chatd.daemon.services.store.chats, chatd.daemon.actors.worker
        assert worker is not None
        await chats.send(chat_id, owner_id="local", content=HELLO)
        assert claims_on_send(chatd) == 1
        reserve, may_claim = worker.claimer.reserve_slot, worker.claimer._may_claim
        with reserve(chat_id) as slot:
            assert slot is None, "it runs here"
        worker.claimer._may_claim = lambda: False
        with reserve(uuid4()) as slot:
            assert slot is None, "the worker does not hold its lease"
        worker.claimer._may_claim = may_claim
        await chatd.wait_until_no_chat_waits()
        other = uuid4()
        with reserve(other) as slot:
            assert slot is not None
            with reserve(other) as second:
                assert second is None, "no chat runs twice"
        await chatd.wait_until_no_chat_waits()
        with reserve(other) as slot, reserve(uuid4()) as too_many:
            assert (slot is not None, too_many) == (True, None)
        chatd.daemon.chat_tasks.stop_claiming()
        with reserve(uuid4()) as slot:
            assert slot is None, "the process stops"
        held.go.set()


async def test_slot_that_is_given_back_goes_to_the_line(dsn: str) -> None:
    """A chat that became pending while the last slot was reserved does not wait for the next poll."""
    async with running_daemon(dsn, worker={"poll_seconds": 600, "max_chats": 1}) as chatd:
        chat = await chatd.api.create()
        await chatd.wait_until_no_chat_waits()
        claimer = chatd.daemon.actors.worker.claimer  # type: ignore[union-attr]
        with claimer.reserve_slot(uuid4()) as slot:
            assert slot is not None
            await chatd.api.send(chat["id"], "hello")
            assert (await chatd.api.chat(chat["id"]))["status"] == "pending"
            await claimer.step()
            assert (await chatd.api.chat(chat["id"]))["status"] == "pending", "no slot is free"
        await chatd.api.wait_for_status(chat["id"], "waiting")


async def test_chat_that_cannot_be_read_fails_like_one_that_was_claimed(
    dsn: str, database: Database
) -> None:
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create()
        await chatd.wait_until_no_chat_waits()
        await database.fetch("UPDATE chats SET labels = '{\"a\": 1}'")
        response = await chatd.api.http.post(
            f"/api/v1/chats/{chat['id']}/messages", json={"content": "hello"}
        )
        assert response.status_code == 500
        [row] = await database.fetch("SELECT status, last_error_detail FROM chats")
        assert row["status"] == "error"
        assert row["last_error_detail"]["kind"] == unreadable_failure().kind
