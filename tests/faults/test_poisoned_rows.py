"""Rows that fail, given to the steps of actors whose statements are about many chats.

``test_containment`` has the other actors, and the rows of the supervision tree that need no case.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs
from support.actors import make_flusher, recording_change_bus
from support.eventually import eventually
from support.factories import OWNER, chat_with_status, insert_models, register_worker
from support.in_process import fetch_rows, running_daemon
from support.providers import scripted

from chatd.domain.chat import Chat, Status
from chatd.domain.hint import Hint
from chatd.fanout.hub import ChatHub
from chatd.fanout.list_hub import ListHub
from chatd.store.chat_lists import ChatLists
from chatd.store.commands import FinishTurn
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.limits import ChatLimits
from chatd.store.notifications.notifier import Notifier
from chatd.store.pending import PendingChats
from chatd.store.reaps import Reaps
from chatd.store.turns import FencingToken, Turns
from chatd.streaming.list_poller import ChatListPoller
from chatd.worker.deregistration import Deregistration
from chatd.worker.pending_sweep import PendingSweep

LOOSE_SCHEMA = """
ALTER TABLE chats DROP CONSTRAINT chats_labels_object, DROP CONSTRAINT chats_status_known,
    DROP CONSTRAINT chats_lease_columns;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no'; END $$;
"""
RAISING = """
CREATE TRIGGER refuse BEFORE UPDATE ON chats FOR EACH ROW WHEN (OLD.id = '{chat_id}')
EXECUTE FUNCTION refuse()
"""
ROWS: Mapping[str, str] = {
    "an unknown status": "UPDATE chats SET status = 'paused', pending_since = NULL, held = false"
    " WHERE id = $1",
    "the highest version": "UPDATE chats SET version = 9223372036854775807 WHERE id = $1",
    "JSON nested too deeply": "UPDATE chats SET labels = jsonb_build_object('a', (repeat('[', 900)"
    " || repeat(']', 900))::jsonb) WHERE id = $1",
    "a trigger": RAISING,
}
"""What may be wrong with the row of a chat: a word of others, a size, and a row that refuses."""


@pytest.fixture
async def loose(database: Database) -> Database:
    """Return a database whose rows may be of another shape, as a newer one's may be."""
    connection = await asyncpg.connect(database._connector._text)
    await connection.execute(LOOSE_SCHEMA)
    await connection.close()
    return database


async def poison(database: Database, chat_id: UUID | str, name: str) -> None:
    if name == "a trigger":
        await database.fetch(RAISING.format(chat_id=chat_id))
    else:
        await database.fetch(ROWS[name], UUID(str(chat_id)))


async def status_of(database: Database, chat: Chat) -> str:
    [row] = await fetch_rows(database, "SELECT status FROM chats WHERE id = $1", chat.id)
    return str(row["status"])


def cuts(logs: Any, actor: str) -> list[UUID]:
    return [
        line["chat_id"]
        for line in logs
        if line["event"] == "containment.cut" and line["actor"] == actor
    ]


PARTS: Mapping[str, Any] = {
    "half a character": {"type": "text", "text": "\ud800"},
    "a zero byte": {"type": "text", "text": "\x00"},
    "no JSON": {"type": "text", "text": object()},
    "too large a part": {"type": "text", "text": "x" * 100_000},
    "a part of an unknown type that is refused": {"type": "diagram"},
}


@pytest.mark.parametrize("name", PARTS)
async def test_flusher_stores_the_parts_of_all_other_chats(database: Database, name: str) -> None:
    await database.fetch(
        "ALTER TABLE chat_parts ADD CHECK (parts::text NOT LIKE '%diagram%'"
        " AND length(parts::text) < 50000)"
    )
    change_bus, _ = recording_change_bus()
    hub, flusher = ChatHub(subscriber_buffer=100), make_flusher(database, change_bus)
    chats = [await chat_with_status(database, Status.RUNNING) for _ in range(5)]
    previews = [hub.start_step(chat.id, epoch=1, base=chat.settled_part) for chat in chats]
    good = {"index": 0, "type": "text", "text": "good"}
    for number, (chat, preview) in enumerate(zip(chats, previews, strict=True)):
        flusher.track(chat.id, preview)
        hub.publish_part(chat.id, preview, PARTS[name] | {"index": 0} if number == 2 else good)
    with capture_logs() as logs:
        await flusher.step()
        for chat, preview in zip(chats, previews, strict=True):
            hub.publish_part(chat.id, preview, good)
        await flusher.step()
    assert cuts(logs, "flusher") == [chats[2].id]
    stored = await fetch_rows(
        database, "SELECT chat_id, max(last_part) AS n FROM chat_parts GROUP BY 1"
    )
    assert {row["chat_id"]: row["n"] for row in stored} == {
        chat.id: 2 for chat in chats if chat is not chats[2]
    }


@pytest.mark.parametrize("word", ["x" * 9000, "half \ud800", "zero \x00"])
async def test_notifier_sends_the_hints_of_all_other_chats(database: Database, word: str) -> None:
    notifier = Notifier(database, sender="a")
    received: list[str] = []
    async with database.dedicated_connection() as connection:
        await connection.add_listener("chatd", lambda *hint: received.append(hint[-1].split()[1]))
        chats = [uuid4() for _ in range(5)]
        for number, chat_id in enumerate(chats):
            status = Status.read(word) if number == 2 else Status.PENDING
            notifier.enqueue(Hint(chat_id, 2**63 - 1, status, 7))
        with capture_logs() as logs:
            await notifier.step()
        expected = {str(chat_id) for chat_id in chats if chat_id != chats[2]}
        await eventually(lambda: set(received) == expected)
    assert cuts(logs, "notifier") == [chats[2]]


@pytest.mark.parametrize("status", [Status.RUNNING, Status.INTERRUPTING])
@pytest.mark.parametrize("name", ROWS)
async def test_deregistration_releases_all_other_chats(
    loose: Database, name: str, status: Status
) -> None:
    worker_id = uuid4()
    leases = Leases(loose, worker_id=worker_id)
    await register_worker(loose, leases)
    chats = [await chat_with_status(loose, status, worker_id=worker_id) for _ in range(5)]
    await poison(loose, chats[2].id, name)
    with capture_logs():
        await Deregistration(leases, Reaps(loose, worker_id=worker_id), Turns(loose)).step()
    released = "pending" if status is Status.RUNNING else "waiting"
    for chat in (*chats[:2], *chats[3:]):
        assert await status_of(loose, chat) == released
    assert await fetch_rows(loose, "SELECT FROM workers WHERE worker_id = $1", worker_id) == []


async def test_list_poller_reads_the_lists_of_all_other_owners(database: Database) -> None:
    """An owner whose name PostgreSQL refuses stands for any list that makes the read of all fail."""
    hub = ListHub(overlap_seconds=60.0, subscriber_buffer=10)
    poller = ChatListPoller(hub, ChatLists(database), poll_seconds=1.0)
    owners = [f"{OWNER}1", "zero \x00", f"{OWNER}2"]
    chats = [await chat_with_status(database, Status.WAITING, owner_id=owners[n]) for n in (0, 2)]
    first, refused, last = subscriptions = [hub.subscribe(owner) for owner in owners]
    for subscription in subscriptions:
        hub.attach(subscription, datetime.now(UTC))
    with capture_logs() as logs:
        await poller.step()
    for subscription, chat in zip((first, last), chats, strict=True):
        assert [change.chat_id for change in subscription.take()] == [chat.id]
        assert not subscription.closed
    assert (refused.closed, refused.unreadable) == (True, True)
    [cut] = [line for line in logs if line["event"] == "containment.cut"]
    assert (cut["actor"], cut["owner_id"]) == ("list poller", refused.owner_id)


def sweep_of(pending: PendingChats, *, unserved_model_seconds: float) -> PendingSweep:
    return PendingSweep(
        pending,
        reap_interval_seconds=1.0,
        lease_seconds=20.0,
        unserved_model_seconds=unserved_model_seconds,
    )


@pytest.mark.parametrize("name", ROWS)
async def test_pending_sweep_ends_the_wait_of_all_other_chats(loose: Database, name: str) -> None:
    chats = [await chat_with_status(loose, Status.PENDING) for _ in range(5)]
    await poison(loose, chats[2].id, name)
    sweep = sweep_of(PendingChats(loose, worker_id=uuid4()), unserved_model_seconds=0.0)
    with capture_logs():
        for _ in range(3):
            await sweep.step()
    for chat in (*chats[:2], *chats[3:]):
        assert await status_of(loose, chat) == "error"


def limited() -> ChatLimits:
    return ChatLimits(max_running_per_owner=1)


async def held_chats(database: Database) -> list[Chat]:
    """Insert three held chats of one owner and one of another."""
    await insert_models(database)
    return [
        await chat_with_status(database, Status.PENDING, held=True, round=number, owner_id=owner)
        for number, owner in enumerate([OWNER, OWNER, OWNER, "bob"])
    ]


async def held_ids(database: Database) -> set[UUID]:
    return {row["id"] for row in await database.fetch("SELECT id FROM chats WHERE held")}


@pytest.mark.parametrize("name", ["an unknown status", "JSON nested too deeply", "a trigger"])
async def test_pending_sweep_admits_other_chats(loose: Database, name: str) -> None:
    chats = await held_chats(loose)
    await poison(loose, chats[0].id, name)
    admitted: list[UUID] = []
    pending = PendingChats(
        loose,
        worker_id=uuid4(),
        limits=limited,
        listener=CommitListener(on_admit=lambda chat_id, *_: admitted.append(chat_id)),
    )
    with capture_logs() as logs:
        for _ in range(2):
            await sweep_of(pending, unserved_model_seconds=600.0).step()
    first = chats[0] if name.startswith("JSON") else chats[1]
    assert admitted == [first.id, chats[3].id], "in the order of the owners"
    assert chats[2].id in await held_ids(loose)
    assert cuts(logs, "pending sweep") == ([chats[0].id] if name == "a trigger" else [])


async def test_turn_that_ends_passes_by_a_chat_that_cannot_be_admitted(loose: Database) -> None:
    running = await chat_with_status(loose, Status.RUNNING)
    chats = await held_chats(loose)
    await poison(loose, chats[0].id, "a trigger")
    admitted: list[UUID] = []
    listener = CommitListener(on_admit=lambda chat_id, *_: admitted.append(chat_id))
    assert running.worker_id is not None
    fence = FencingToken(running.id, running.worker_id, running.epoch)
    result = await Turns(loose, limits=limited, listener=listener).apply(
        fence, FinishTurn(step=0, messages=[], settled_part=0)
    )
    assert result.chat.status is Status.WAITING
    assert admitted == [chats[1].id]


@pytest.mark.parametrize("name", ROWS)
async def test_heartbeat_renews_the_lease_of_all_other_chats(
    loose: Database, dsn: str, name: str
) -> None:
    script = [{"text": "Wait "}, {"hang": True}]
    async with running_daemon(dsn, scripted(script), worker={"heartbeat_seconds": 0.05}) as chatd:
        ids = [(await chatd.api.create("hello"))["id"] for _ in range(2)]
        for chat_id in ids:
            await chatd.api.wait_for_status(chat_id, "running")
        await poison(loose, ids[0], name)
        [before] = await fetch_rows(loose, "SELECT clock_timestamp() AS now")

        async def renewed() -> bool:
            [row] = await fetch_rows(loose, "SELECT heartbeat_at FROM workers")
            return bool(row["heartbeat_at"] > before["now"])

        for _ in range(2):
            [before] = await fetch_rows(loose, "SELECT clock_timestamp() AS now")
            await eventually(renewed)
        assert (await chatd.api.chat(ids[1]))["status"] == "running"
        assert not chatd.logged("supervisor.child_failed")
        await loose.fetch("DROP TRIGGER IF EXISTS refuse ON chats")
        await loose.fetch("UPDATE chats SET version = 10, status = 'running', labels = '{}'")
