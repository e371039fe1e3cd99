"""Shutdown: leased chats are released, and the worker leaves no row."""

import asyncio
from uuid import uuid4

from support.actors import publish_to, recording_change_bus
from support.eventually import eventually
from support.factories import (
    chat_with_status,
    columns_for,
    insert_chat,
    register_worker,
)
from support.in_process import fetch_rows, running_daemon
from support.providers import HeldProvider

from chatd.domain.chat import Status
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.reaps import Reaps
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import Turns
from chatd.worker.deregistration import Deregistration


async def test_deregistration_releases_leased_chats(database: Database) -> None:
    change_bus, hints = recording_change_bus()
    worker_id = uuid4()
    leases = Leases(database, worker_id=worker_id)
    await register_worker(database, leases)
    running = await chat_with_status(database, Status.RUNNING, worker_id=worker_id)
    stopping = await chat_with_status(database, Status.INTERRUPTING, worker_id=worker_id)
    others = await chat_with_status(database, Status.RUNNING, worker_id=uuid4())
    turns = Turns(database, listener=publish_to(change_bus))
    assert await Deregistration(leases, Reaps(database, worker_id=worker_id), turns).step() == 2
    status = {
        r["id"]: r["status"] for r in await fetch_rows(database, "SELECT id, status FROM chats")
    }
    assert status == {running.id: "pending", stopping.id: "waiting", others.id: "running"}
    assert {hint.chat_id for hint in hints} == {running.id, stopping.id}
    registered = await fetch_rows(database, "SELECT worker_id FROM workers")
    assert [row["worker_id"] for row in registered] == [others.worker_id]


async def test_deregistration_stores_the_parts_of_an_interrupted_turn(database: Database) -> None:
    worker_id = uuid4()
    leases = Leases(database, worker_id=worker_id)
    chat = await chat_with_status(database, Status.INTERRUPTING, worker_id=worker_id)
    parts = [{"index": 0, "type": "text", "text": t} for t in ("one ", "two ")]
    await StreamStore(database).flush_parts([PartBatch(chat.id, chat.epoch, 1, parts)])
    assert (
        await Deregistration(leases, Reaps(database, worker_id=worker_id), Turns(database)).step()
        == 1
    )
    stored = await fetch_rows(
        database, "SELECT content, finish_reason FROM chat_messages WHERE role = 'assistant'"
    )
    assert [tuple(row.values()) for row in stored] == [
        ([{"type": "text", "text": "one two "}], "interrupted")
    ]


async def test_claim_with_a_lost_response_is_released_at_shutdown(
    dsn: str, database: Database
) -> None:
    async with running_daemon(dsn) as chatd:
        orphan = await insert_chat(
            database,
            **(columns_for(Status.RUNNING) | {"worker_id": chatd.daemon.worker_id}),
            last_model_config_id=chatd.daemon.catalog.default.id,
        )
    [row] = await fetch_rows(
        database, "SELECT status, worker_id FROM chats WHERE id = $1", orphan.id
    )
    assert (row["status"], row["worker_id"]) == ("pending", None)
    assert await fetch_rows(database, "SELECT * FROM workers") == []


async def test_shutdown_releases_running_chats_for_the_next_process(
    dsn: str, database: Database
) -> None:
    held = HeldProvider()
    async with running_daemon(dsn, held) as chatd:
        chats = [(await chatd.api.create("hello"))["id"] for _ in range(3)]
        await eventually(lambda: held.running_count == 3)
    found = await fetch_rows(database, "SELECT status, attempts, recoveries, last_error FROM chats")
    assert [tuple(row.values()) for row in found] == [("pending", 0, 0, None)] * 3
    async with running_daemon(dsn) as after:
        for chat_id in chats:
            await after.api.wait_for_status(chat_id, "waiting")
            assert await after.api.texts(chat_id) == ["You said: hello"]
            [release] = await after.journal(chat_id, "release")
            assert release["data"]["reason"] == "shutdown"


async def test_turn_may_end_within_the_shutdown_grace(dsn: str, database: Database) -> None:
    held = HeldProvider()
    async with running_daemon(dsn, held, worker={"shutdown_grace_seconds": 30}) as chatd:
        await chatd.api.create("hello")
        await eventually(lambda: held.running_count)
        stopping = asyncio.create_task(chatd.stop())
        await chatd.wait_for_log("supervisor.stopping")
        held.go.set()
        await stopping
    [row] = await fetch_rows(database, "SELECT status FROM chats")
    assert row["status"] == "waiting"


async def test_next_turn_of_the_queue_is_released_while_draining(
    dsn: str, database: Database
) -> None:
    held = HeldProvider()
    async with running_daemon(dsn, held, worker={"shutdown_grace_seconds": 30}) as chatd:
        chat = await chatd.api.create("one")
        await eventually(lambda: held.running_count)
        for text in ("two", "three"):
            await chatd.api.send(chat["id"], text, busy_behavior="queue")
        stopping = asyncio.create_task(chatd.stop())
        await eventually(lambda: chatd.daemon.chat_tasks.free_slots == 0)
        held.go.set()
        await stopping
    entries = await fetch_rows(
        database, "SELECT transition, status, data FROM chat_events ORDER BY version DESC LIMIT 2"
    )
    release, finish = entries
    assert (finish["transition"], finish["status"]) == ("finish_turn", "running")
    assert (release["transition"], release["data"]["reason"]) == ("release", "draining")
    assert len(held.requests) == 1
    [row] = await fetch_rows(database, "SELECT status, queue_length FROM chats")
    assert tuple(row.values()) == ("pending", 1)
