"""Claiming, holding and handing back: the actors by themselves, on the real database."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs
from support.actors import make_flusher, make_janitor, make_reaper
from support.eventually import eventually
from support.factories import (
    OWNER,
    chat_with_status,
    columns_for,
    insert_chat,
    insert_models,
    register_worker,
)
from support.in_process import fetch_rows, running_daemon, running_daemons
from support.providers import FunctionProvider, finished, scripted, text_delta

from chatd.domain.chat import Status
from chatd.domain.hint import Hint
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey, IdempotencyStore
from chatd.store.leases import Leases
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import Turns
from chatd.worker.deregistration import Deregistration
from chatd.worker.reaper import Reaper


class Held:
    """A provider whose calls last until they are let go; ``most`` is how many there were at once."""

    def __init__(self) -> None:
        self.provider = FunctionProvider(self._act)
        self.now = self.most = 0
        self.go = asyncio.Event()

    async def _act(self, _: ModelRequest) -> AsyncIterator[Delta]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.go.wait()
        finally:
            self.now -= 1
        yield text_delta("done")
        yield finished()


def heard() -> tuple[ChangeBus, list[Hint]]:
    told: list[Hint] = []
    return ChangeBus(ChatHub(subscriber_buffer=100), notify_replicas=told.append), told


# -- the claimer ----------------------------------------------------------------------------------


async def test_no_more_chats_than_there_is_room_for(dsn: str) -> None:
    held = Held()
    async with running_daemon(dsn, held.provider, worker={"max_chats": 3}) as chatd:
        chats = [(await chatd.api.create("hello"))["id"] for _ in range(10)]
        await eventually(lambda: held.now == 3)
        statuses = [(await chatd.api.chat(c))["status"] for c in chats]
        assert statuses.count("running") == 3  # first come, first served
        assert statuses == ["running"] * 3 + ["pending"] * 7
        held.go.set()
        for chat_id in chats:
            await chatd.api.wait_for_status(chat_id, "waiting")
        assert held.most == 3


async def test_two_processes_share_the_work_and_no_chat_is_worked_twice(dsn: str) -> None:
    first, second = Held(), Held()
    async with running_daemons(
        dsn, [first.provider, second.provider], worker={"max_chats": 5}
    ) as daemons:
        chats = [(await daemons[0].api.create("hello"))["id"] for _ in range(10)]
        await eventually(lambda: first.now == second.now == 5)
        first.go.set()
        second.go.set()
        for chat_id in chats:
            await daemons[1].api.wait_for_status(chat_id, "waiting")
            assert [e["transition"] for e in await daemons[1].journal(chat_id)] == [
                "create",
                "claim",
                "finish_turn",
            ]
        assert first.most == second.most == 5


async def test_a_hint_wakes_the_claimer_long_before_its_poll(dsn: str) -> None:
    slow = {"poll_seconds": 600}
    async with running_daemons(dsn, [scripted(), scripted()], worker=slow) as daemons:
        front, back = daemons
        front.daemon.chat_tasks.stop_claiming()
        for _ in range(3):
            chat = await front.api.create("hello")
            await front.api.wait_for_status(chat["id"], "waiting")
            [acquired] = await front.journal(chat["id"], "claim")
            assert acquired["worker_id"] == str(back.daemon.worker_id)


async def test_a_lost_hint_costs_no_more_than_a_poll(dsn: str) -> None:
    async with running_daemons(dsn, [scripted()] * 2, worker={"poll_seconds": 0.1}) as daemons:
        front, _ = daemons
        front.daemon.chat_tasks.stop_claiming()
        front.daemon.services.notifier.enqueue = lambda _: None  # type: ignore[method-assign]
        front.daemon.services.change_bus._notify_replicas = lambda _: None
        chat = await front.api.create("hello")
        await front.api.wait_for_status(chat["id"], "waiting")


async def test_a_process_that_serves_only_claims_nothing(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, worker={"enabled": False, "poll_seconds": 0.02}) as front:
        chat = await front.api.create("hello")
        async with running_daemon(dsn) as back:
            await back.api.wait_for_status(chat["id"], "waiting")
            [acquired] = await back.journal(chat["id"], "claim")
            assert acquired["worker_id"] == str(back.daemon.worker_id)
        assert await fetch_rows(database, "SELECT * FROM workers") == []


# -- the heartbeat --------------------------------------------------------------------------------


async def cut_heartbeat(database: Database, worker: set[int]) -> None:
    """End the session that holds the lock."""
    await fetch_rows(
        database, "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid", [*worker]
    )


async def test_a_lost_connection_costs_the_lock_but_no_chat(dsn: str, database: Database) -> None:
    held = Held()
    async with running_daemon(
        dsn, held.provider, worker={"heartbeat_seconds": 600, "lease_seconds": 1800}
    ) as chatd:
        chat = await chatd.api.create("hello")
        await eventually(lambda: held.now)
        for _ in range(3):
            before = await locks(database)
            assert len(before) == 1
            await cut_heartbeat(database, before)
            await eventually(lambda before=before: retaken(database, before))
        held.go.set()
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert [e["transition"] for e in await chatd.journal(chat["id"])] == [
            "create",
            "claim",
            "finish_turn",
        ]
        assert chatd.logged("outage.began", child="heartbeat")
        assert chatd.logged("outage.ended", child="heartbeat")


async def locks(database: Database) -> set[int]:
    found = await fetch_rows(
        database,
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    return {row["pid"] for row in found}


async def retaken(database: Database, before: set[int]) -> bool:
    now = await locks(database)
    return len(now) == 1 and not now & before


async def test_without_its_lock_a_worker_claims_nothing(dsn: str, database: Database) -> None:
    """Somebody else sits on the lock: this worker must look dead to itself, too."""
    async with running_daemon(dsn, worker={"poll_seconds": 0.02}) as chatd:
        worker_id = str(chatd.daemon.worker_id)
        holder = await locks(database)
        squatter = await asyncpg.connect(dsn)
        try:
            key = "hashtextextended($1::text, 0)"
            await squatter.execute("BEGIN")  # who is idle on a lock of others is ended as a ghost
            taking = asyncio.create_task(
                squatter.fetchval(f"SELECT pg_advisory_lock({key})::text", worker_id)
            )
            await eventually(lambda: waiting_for_lock(database))
            await cut_heartbeat(database, holder)
            await taking
            await chatd.wait_for_log("outage.began", child="heartbeat")
            chat = await chatd.api.create("hello")
            statements = chatd.daemon.services.database.statement_count
            await eventually(lambda: chatd.daemon.services.database.statement_count > statements)
            claimer_ran = asyncio.Event()
            chatd.daemon.services.change_bus.subscribe(lambda _: claimer_ran.set())
            await chatd.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": "x"})
            await claimer_ran.wait()
            assert (await chatd.api.chat(chat["id"]))["status"] == "pending"
            await squatter.fetchval(f"SELECT pg_advisory_unlock({key})", worker_id)
            await chatd.api.wait_for_status(chat["id"], "waiting")
        finally:
            await squatter.close()


async def waiting_for_lock(database: Database) -> bool:
    return bool(
        await fetch_rows(
            database, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
    )


async def test_a_chat_that_was_taken_away_is_dropped_at_the_next_beat(
    dsn: str, database: Database
) -> None:
    held = Held()
    async with running_daemon(
        dsn, held.provider, worker={"heartbeat_seconds": 0.1, "reap_interval_seconds": 600}
    ) as chatd:
        chat = await chatd.api.create("hello")
        await eventually(lambda: held.now)
        chatd.daemon.chat_tasks.stop_claiming()
        await database.fetch(
            "UPDATE chats SET worker_id = $1, epoch = epoch + 1, version = version + 1", uuid4()
        )
        lost = await chatd.wait_for_log("chat.lost", chat_id=chat["id"])
        assert lost["epoch"] == 1
        assert held.now == 0
        assert (await chatd.wait_for_log("chat.turn", outcome="lost"))["epoch"] == 1
        assert await chatd.api.texts(chat["id"]) == []


async def test_a_beat_renews_only_what_is_in_hand(dsn: str, database: Database) -> None:
    """A chat claimed by a statement whose answer never came runs out, and is worked again."""
    worker = {"heartbeat_seconds": 0.1, "lease_seconds": 2, "reap_interval_seconds": 0.1}
    async with running_daemon(dsn, worker=worker) as chatd:
        orphan = await insert_chat(
            database,
            **(
                columns_for(Status.RUNNING)
                | {"worker_id": chatd.daemon.worker_id, "owner_id": "local"}
            ),
            last_model_config_id=chatd.daemon.catalog.default.id,
        )
        await eventually(lambda: chatd.journal(str(orphan.id), "reap"))
        await chatd.api.wait_for_status(str(orphan.id), "waiting")


# -- the watchdog ---------------------------------------------------------------------------------


async def test_a_chat_whose_lease_ran_out_is_dropped(dsn: str, database: Database) -> None:
    """The heartbeat cannot renew; the private deadline passes; the chat is let go, unheard of."""
    held = Held()
    worker = {"heartbeat_seconds": 600, "lease_seconds": 1800}
    async with running_daemon(dsn, held.provider, worker=worker) as chatd:
        chat = await chatd.api.create("hello")
        await eventually(lambda: held.now)
        chatd.daemon.chat_tasks.stop_claiming()
        [hand] = chatd.daemon.chat_tasks.leases
        hand.renewed_at -= 1201
        await chatd.wait_for_log("chat.lost", chat_id=chat["id"])
        assert held.now == 0
        assert (await chatd.journal(chat["id"]))[-1]["transition"] == "claim"  # nothing was written


# -- the reaper -----------------------------------------------------------------------------------


def reaper(database: Database) -> tuple[Reaper, list[Hint]]:
    hints, told = heard()
    return make_reaper(database, hints), told


AGED = "UPDATE chats SET heartbeat_at = clock_timestamp() - interval '21 seconds' WHERE id = $1"


async def test_the_reaper_takes_what_is_aged_and_leaves_what_is_fresh(database: Database) -> None:
    """Locks are out of the question here: nobody holds any, as after a restart of the server."""
    aged = await chat_with_status(database, Status.RUNNING)
    await database.fetch(AGED, aged.id)
    fresh = await chat_with_status(database, Status.RUNNING, worker_id=uuid4())
    reap, told = reaper(database)
    holder = await asyncpg.connect(database._dsn)
    try:
        await holder.execute(
            "SELECT pg_advisory_lock(hashtextextended($1, 0))", str(fresh.worker_id)
        )
        assert await reap.step() is True
        assert await reap.step() is False
    finally:
        await holder.close()
    [one_row] = await fetch_rows(database, "SELECT * FROM chats WHERE id = $1", aged.id)
    assert (one_row["status"], one_row["worker_id"], one_row["recoveries"]) == ("pending", None, 1)
    assert one_row["last_error"] is None
    assert [hint.chat_id for hint in told] == [aged.id]
    [other] = await fetch_rows(database, "SELECT status FROM chats WHERE id = $1", fresh.id)
    assert other["status"] == "running"
    assert await reap.step() is True  # its holder is gone now, and it is reaped by its lock
    [event] = await fetch_rows(
        database, "SELECT data FROM chat_events WHERE chat_id = $1", fresh.id
    )
    assert event["data"]["reason"] == "worker_dead"


async def test_a_chat_that_kills_its_workers_is_given_up(database: Database) -> None:
    reap, _ = reaper(database)
    chat = await chat_with_status(database, Status.RUNNING, recoveries=3)
    await database.fetch(AGED, chat.id)
    with capture_logs() as logged:
        await reap.step()
    [row] = await fetch_rows(database, "SELECT * FROM chats")
    assert row["status"] == "error"
    assert row["last_error_detail"]["kind"] == "crash_loop"
    assert row["last_error"]
    [line] = logged
    [event] = await fetch_rows(database, "SELECT data FROM chat_events")
    assert (line["event"], line["recoveries"]) == ("chat.crash_loop", 4)
    assert line["reason"] == event["data"]["reason"]


@pytest.mark.parametrize("queued", [0, 1])
async def test_an_abandoned_stop_stores_what_was_flushed(database: Database, queued: int) -> None:
    reap, told = reaper(database)
    chat = await chat_with_status(database, Status.INTERRUPTING, queued=queued)
    parts = [{"index": 0, "type": "text", "text": t} for t in ("one ", "two ", "lost")]
    streams = StreamStore(database)
    await streams.flush_parts([PartBatch(chat.id, chat.epoch, 1, parts[:2])])
    await database.fetch(AGED, chat.id)
    await reap.step()
    stored = await fetch_rows(
        database, "SELECT role, content, finish_reason FROM chat_messages ORDER BY id"
    )
    assert stored[1]["content"] == [{"type": "text", "text": "one two "}]
    assert stored[1]["finish_reason"] == "interrupted"
    [row] = await fetch_rows(database, "SELECT * FROM chats")
    assert (row["status"], row["queue_length"]) == (("pending", 0) if queued else ("waiting", 0))
    assert await fetch_rows(database, "SELECT * FROM chat_parts") == []
    assert [hint.status for hint in told] == [Status.PENDING if queued else Status.WAITING]


async def test_a_worker_that_was_forgotten_is_listed_again(dsn: str, database: Database) -> None:
    """It was frozen for so long that the others swept its row, and goes on by the same connection."""
    async with running_daemon(dsn, worker={"heartbeat_seconds": 0.1}) as chatd:
        (before,) = await fetch_rows(database, "DELETE FROM workers RETURNING *")
        await eventually(lambda: database.fetch("SELECT FROM workers"))
        (after,) = await fetch_rows(database, "SELECT * FROM workers")
        assert after["worker_id"] == chatd.daemon.worker_id
        for column in ("host", "pid", "version", "max_chats"):
            assert after[column] == before[column]


# -- the janitor ----------------------------------------------------------------------------------


async def test_the_janitor_sweeps_what_is_old_and_nothing_else(database: Database) -> None:
    await insert_models(database)
    chats = Chats(database)
    chat = (await chats.create(owner_id=OWNER, model_config_id=(await one_model(database)))).chat
    for number in range(4):
        await chats.describe(chat.id, owner_id=OWNER, title=str(number))
    await database.fetch(
        "UPDATE chat_events SET created_at = clock_timestamp() - interval '8 days' WHERE version <= 3"
    )
    running = await chat_with_status(database, Status.RUNNING)
    idle = await chat_with_status(database, Status.WAITING)
    part = [{"index": 0, "type": "text", "text": "x"}]
    for owner, epoch in ((running, 0), (running, 1), (idle, 0)):
        await database.fetch(
            "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts) VALUES ($1, $2, 1, 1, $3)",
            owner.id,
            epoch,
            part,
        )
    leases = Leases(database, worker_id=uuid4())
    await register_worker(database, leases)
    silent = Leases(database, worker_id=uuid4())
    await register_worker(database, silent)
    owning = running.worker_id
    await register_worker(database, Leases(database, worker_id=owning))
    await database.fetch(
        "UPDATE workers SET heartbeat_at = clock_timestamp() - interval '1 hour'"
        " WHERE worker_id <> $1",
        leases.worker_id,
    )
    await database.fetch(
        "INSERT INTO chat_tombstones (owner_id, chat_id, deleted_at)"
        " SELECT 'ann', gen_random_uuid(), clock_timestamp() - n * interval '1 day'"
        " FROM generate_series(5, 9) n"
    )
    old, fresh = (IdempotencyKey(OWNER, name, b"what was asked") for name in ("old", "fresh"))
    for key in (old, fresh):
        await chats.describe(idle.id, owner_id=OWNER, title=key.key, key=key)
    for key, hours in ((old, 6.1), (fresh, 5.9)):
        await database.fetch(
            "UPDATE idempotency_keys SET created_at = clock_timestamp() - make_interval(secs => $2)"
            " WHERE key = $1",
            key.key,
            hours * 3600,
        )
    keys = IdempotencyStore(database)
    janitor = make_janitor(database, leases)
    assert await janitor.step() is False
    versions = await fetch_rows(
        database, "SELECT version FROM chat_events WHERE chat_id = $1 ORDER BY version", chat.id
    )
    assert [row["version"] for row in versions] == [4, 5]
    left = await fetch_rows(database, "SELECT chat_id, epoch FROM chat_parts")
    assert [(row["chat_id"], row["epoch"]) for row in left] == [(running.id, 1)]
    workers = {
        row["worker_id"] for row in await fetch_rows(database, "SELECT worker_id FROM workers")
    }
    assert workers == {leases.worker_id, owning}
    assert len(await fetch_rows(database, "SELECT FROM chat_tombstones")) == 2
    assert await keys.lookup(old) is None
    kept = await keys.lookup(fresh)
    assert kept is not None
    assert kept["title"] == "fresh"
    again = await chats.describe(idle.id, owner_id=OWNER, title="fresh", key=fresh)
    assert again.chat.version == kept["version"], "it was done once more"


async def one_model(database: Database) -> object:
    return (await fetch_rows(database, "SELECT id FROM chat_model_configs LIMIT 1"))[0]["id"]


async def test_the_newest_event_of_an_old_chat_stays(database: Database) -> None:
    """Else a cursor at the edge could not tell that it is complete."""
    await insert_models(database)
    chats = Chats(database)
    chat = (await chats.create(owner_id=OWNER, model_config_id=(await one_model(database)))).chat
    await chats.describe(chat.id, owner_id=OWNER, title="x")
    await database.fetch(
        "UPDATE chat_events SET created_at = clock_timestamp() - interval '1 year'"
    )
    leases = Leases(database, worker_id=uuid4())
    await make_janitor(database, leases).step()
    [left] = await fetch_rows(database, "SELECT version FROM chat_events")
    assert left["version"] == 2


# -- the flusher ----------------------------------------------------------------------------------


async def test_one_statement_flushes_all_chats(database: Database) -> None:
    hints, told = heard()
    hub = ChatHub(subscriber_buffer=100)
    flusher = make_flusher(database, hints)
    chats = [await chat_with_status(database, Status.RUNNING) for _ in range(5)]
    previews = []
    for chat in chats:
        preview = hub.start_step(chat.id, epoch=chat.epoch, base=chat.settled_part)
        flusher.track(chat.id, preview)
        previews.append(preview)
    before = database.statement_count
    await flusher.step()
    assert database.statement_count == before  # nothing to say, nothing asked
    for chat, preview in zip(chats, previews, strict=True):
        for n in range(3):
            hub.publish_part(chat.id, preview, {"index": 0, "type": "text", "text": str(n)})
    await flusher.step()
    assert database.statement_count == before + 1
    assert len(told) == 5
    await flusher.step()
    assert database.statement_count == before + 1
    hub.publish_part(chats[0].id, previews[0], {"index": 0, "type": "text", "text": "3"})
    await flusher.step()
    stored = await fetch_rows(
        database,
        "SELECT first_part, last_part FROM chat_parts WHERE chat_id = $1 ORDER BY 1",
        chats[0].id,
    )
    assert [(row["first_part"], row["last_part"]) for row in stored] == [(1, 3), (4, 4)]
    for chat in chats:
        flusher.untrack(chat.id, epoch=chat.epoch - 1)
        assert chat.id in flusher._steps
        flusher.untrack(chat.id, epoch=chat.epoch)
    hub.publish_part(chats[0].id, previews[0], {"index": 0, "type": "text", "text": "4"})
    before = database.statement_count
    await flusher.step()
    assert database.statement_count == before


async def test_a_flush_of_a_chat_that_moved_on_stores_nothing(database: Database) -> None:
    streams = StreamStore(database)
    part = [{"index": 0, "type": "text", "text": "late"}]
    chat = await chat_with_status(database, Status.RUNNING, epoch=2, settled_part=5)
    await streams.flush_parts([PartBatch(chat.id, 1, 1, part)])  # an older epoch
    await streams.flush_parts([PartBatch(chat.id, 2, 5, part)])  # settled already
    idle = await chat_with_status(database, Status.WAITING)
    await streams.flush_parts([PartBatch(idle.id, 0, 1, part), PartBatch(uuid4(), 1, 1, part)])
    assert await fetch_rows(database, "SELECT * FROM chat_parts") == []
    await streams.flush_parts([PartBatch(chat.id, 2, 6, part)])
    assert len(await fetch_rows(database, "SELECT * FROM chat_parts")) == 1


async def test_short_turns_are_never_flushed(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, stream={"flush_interval_seconds": 30}) as chatd:
        for _ in range(20):
            chat = await chatd.api.create("hello")
            await chatd.api.wait_for_status(chat["id"], "waiting")
        # Inserted rows, also those deleted since, count; sessions report them when they end.
    inserted = "SELECT n_tup_ins AS n FROM pg_stat_user_tables WHERE relname = 'chat_parts'"
    [stored] = await fetch_rows(database, inserted)
    assert stored["n"] == 0


async def test_much_text_does_not_wait_for_the_tick(dsn: str, database: Database) -> None:
    provider = scripted(big=[{"text": "x" * 5000, "chunks": 5}, {"hang": True}])
    async with running_daemon(
        dsn, provider, stream={"flush_interval_seconds": 600, "flush_bytes": 4096}
    ) as chatd:
        await chatd.api.create("[[big]]")
        await eventually(lambda: fetch_rows(database, "SELECT * FROM chat_parts"))


# -- the farewell ---------------------------------------------------------------------------------


async def test_the_last_word_gives_back_what_is_still_owned(database: Database) -> None:
    hints, told = heard()
    worker_id = uuid4()
    leases = Leases(database, worker_id=worker_id)
    await register_worker(database, leases)
    running = await chat_with_status(database, Status.RUNNING, worker_id=worker_id)
    stopping = await chat_with_status(database, Status.INTERRUPTING, worker_id=worker_id)
    others = await chat_with_status(database, Status.RUNNING, worker_id=uuid4())
    assert await Deregistration(leases, Turns(database), hints).step() == 2
    status = {
        r["id"]: r["status"] for r in await fetch_rows(database, "SELECT id, status FROM chats")
    }
    assert status == {running.id: "pending", stopping.id: "waiting", others.id: "running"}
    assert {hint.chat_id for hint in told} == {running.id, stopping.id}
    assert await fetch_rows(database, "SELECT * FROM workers") == []


async def test_the_last_word_stores_what_a_stopped_turn_had_said(database: Database) -> None:
    hints, _ = heard()
    worker_id = uuid4()
    leases = Leases(database, worker_id=worker_id)
    chat = await chat_with_status(database, Status.INTERRUPTING, worker_id=worker_id)
    parts = [{"index": 0, "type": "text", "text": t} for t in ("one ", "two ")]
    await StreamStore(database).flush_parts([PartBatch(chat.id, chat.epoch, 1, parts)])
    assert await Deregistration(leases, Turns(database), hints).step() == 1
    stored = await fetch_rows(
        database, "SELECT content, finish_reason FROM chat_messages WHERE role = 'assistant'"
    )
    assert [tuple(row.values()) for row in stored] == [
        ([{"type": "text", "text": "one two "}], "interrupted")
    ]


async def test_a_claim_whose_answer_was_lost_is_given_back_at_the_stop(
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


async def test_a_stop_hands_back_what_is_running_and_the_next_process_finishes_it(
    dsn: str, database: Database
) -> None:
    held = Held()
    async with running_daemon(dsn, held.provider) as chatd:
        chats = [(await chatd.api.create("hello"))["id"] for _ in range(3)]
        await eventually(lambda: held.now == 3)
    found = await fetch_rows(database, "SELECT status, attempts, recoveries, last_error FROM chats")
    assert [tuple(row.values()) for row in found] == [("pending", 0, 0, None)] * 3
    async with running_daemon(dsn) as after:
        for chat_id in chats:
            await after.api.wait_for_status(chat_id, "waiting")
            assert await after.api.texts(chat_id) == ["You said: hello"]
            [release] = await after.journal(chat_id, "release")
            assert release["data"]["reason"] == "shutdown"


async def test_a_grace_lets_a_turn_end(dsn: str, database: Database) -> None:
    held = Held()
    async with running_daemon(dsn, held.provider, worker={"shutdown_grace_seconds": 30}) as chatd:
        await chatd.api.create("hello")
        await eventually(lambda: held.now)
        stopping = asyncio.create_task(chatd.stop())
        await chatd.wait_for_log("supervisor.stopping")
        held.go.set()
        await stopping
    [row] = await fetch_rows(database, "SELECT status FROM chats")
    assert row["status"] == "waiting"
