"""Stops of a process, and interrupts of a chat."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from support.database_inspector import DatabaseInspector, inspect_database
from support.eventually import eventually
from support.processes import ChatdProcess, chatd_process, replicas
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import ApiClient, ChatView, client, clients, text_of

SCRIPTS = """
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "You said: {message}"
chunks = 3
[[providers.fake.scripts.quick]]
text = "A quick one for {message}"
chunks = 6
delay_seconds = 0.02
[[providers.fake.scripts.slow]]
text = "One two three four five six seven eight nine ten eleven twelve."
chunks = 20
delay_seconds = 0.15
[[providers.fake.scripts.hang]]
text = "I begin and "
chunks = 3
[[providers.fake.scripts.hang]]
hang = true
[[providers.fake.scripts.busy]]
error = { status = 503 }
turns = [1]
[[providers.fake.scripts.busy]]
text = "Back."
[models.fake]
provider = "fake"
model = "fake-1"
"""
STEADY = """
[worker]
heartbeat_seconds = 600
lease_seconds = 1800
"""
"""Settings without renewals and with long leases: a worker learns of changes by notification only."""
SLOW = "One two three four five six seven eight nine ten eleven twelve."
BEGUN = "I begin and "
HELD = SCRIPTS.replace(
    f'text = "{SLOW}"\nchunks = 20\ndelay_seconds = 0.15\n',
    f'text = "{SLOW[:40]}"\nchunks = 12\n[[providers.fake.scripts.slow]]\nhang = true\n',
)
"""Scripts whose slow answer hangs in the middle, so that another worker has to finish it."""


def grace(seconds: float) -> str:
    return f"[worker]\nshutdown_grace_seconds = {seconds}\n"


def drained(view: ChatView) -> bool:
    return bool(view.events) and view.events[-1].event == "draining"


def is_idle(view: ChatView) -> bool:
    return view.status in {"waiting", "error"}


async def watch(
    api: ApiClient, chat_id: str, view: ChatView, until: Callable[[ChatView], bool] = drained
) -> None:
    """Follow until ``done``. A stream that ends before that is a failure."""
    await api.follow(chat_id, view, until)
    assert until(view), view.events[-1]


async def leased_chats(db: DatabaseInspector) -> list[UUID]:
    return [
        row["worker_id"]
        for row in await db.fetch_all("SELECT * FROM chats WHERE worker_id NOTNULL")
    ]


async def stored(api: ApiClient, chat_id: str) -> dict[int, str]:
    return {m["id"]: text_of(m["content"]) for m in await api.messages(chat_id)}


# -- a process ----------------------------------------------------------------------------------


async def test_turn_within_grace_is_finished_by_its_worker(tmp_path: Path, dsn: str) -> None:
    async with (
        replicas(tmp_path, dsn, "a", settings=grace(20), scripts=SCRIPTS) as (a,),
        client(a) as api,
        inspect_database(dsn) as db,
    ):
        chat_id, view = (await api.create("[[slow]]"))["id"], ChatView()
        idle_id, idle = (await api.create())["id"], ChatView()
        async with anyio.create_task_group() as group:
            group.start_soon(watch, api, idle_id, idle)
            group.start_soon(watch, api, chat_id, view)
            await eventually(lambda: idle.events and len(view.preview) > 10)
            a.send_signal(signal.SIGTERM)
        assert view.status == "running"  # the stream ended long before the turn
        assert await a.wait_for_exit() == 0
        assert await db.transitions(chat_id) == ["create", "claim", "finish_turn"]
        row = (await db.fetch_all("SELECT * FROM chats WHERE id = $1", UUID(chat_id)))[0]
        assert (row["status"], row["last_error"]) == ("waiting", None)
        assert await db.fetch_value("SELECT count(*) FROM workers") == 0
        assert not a.logged("chat.lost")


async def test_turn_beyond_grace_goes_to_another_worker(tmp_path: Path, dsn: str) -> None:
    async with (
        replicas(tmp_path, dsn, "a", settings=grace(0.3), scripts=HELD) as (owner,),
        clients([owner]) as own,
        inspect_database(dsn) as db,
        AsyncExitStack() as stack,
    ):
        chat_id, view = (await own["a"].create("[[slow]]"))["id"], ChatView()
        await db.wait_for_transition(chat_id, "claim")
        (other,) = await stack.enter_async_context(replicas(tmp_path, dsn, "b", scripts=SCRIPTS))
        apis = own | await stack.enter_async_context(clients([other]))
        async with anyio.create_task_group() as group:
            group.start_soon(watch, apis[owner.name], chat_id, view)
            await eventually(lambda: len(view.preview) > 10)
            async with measure_scheduling_delay(owner) as busy:
                asked_at = await db.now()
                owner.send_signal(signal.SIGTERM)
                released = await db.wait_for_transition(chat_id, "release")
            took = (released["created_at"] - asked_at).total_seconds()
            assert took < 0.3 + 2 + busy.total, busy
        assert await owner.wait_for_exit() == 0
        await watch(apis[other.name], chat_id, view, is_idle)
        assert await db.transitions(chat_id) == [
            *("create", "claim", "release", "claim", "finish_turn")
        ]
        assert view.messages == await stored(apis[other.name], chat_id)
        assert list(view.messages.values()) == ["[[slow]]", SLOW]
        assert (await apis[other.name].chat(chat_id))["last_error"] is None
        assert await db.fetch_all("SELECT worker_id FROM workers") == [(other.worker_id,)]


@pytest.mark.parametrize(("seconds", "terms"), [(0, 1), (60, 2)], ids=["no grace", "second TERM"])
async def test_stop_without_grace_releases_chats_at_once(
    tmp_path: Path, dsn: str, seconds: float, terms: int
) -> None:
    async with inspect_database(dsn) as db:
        with chatd_process(tmp_path, dsn, name="a", settings=grace(seconds), scripts=HELD) as a:
            await a.wait_until_ready()
            async with client(a) as api, measure_scheduling_delay(a) as busy:
                chat_ids = [(await api.create("[[slow]]"))["id"] for _ in range(3)]
                view = ChatView()
                async with anyio.create_task_group() as group:
                    group.start_soon(watch, api, chat_ids[0], view)
                    await eventually(lambda: len(view.preview) > 10)
                    asked_at = await db.now()
                    for number in range(terms):
                        a.send_signal(signal.SIGTERM)
                        await eventually(lambda n=number: len(a.logged("daemon.stopping")) > n)
                assert await a.wait_for_exit() == 0
        for chat_id in chat_ids:
            *_, last = await db.journal(chat_id)
            assert (last["transition"], last["status"]) == ("release", "pending")
            assert (last["created_at"] - asked_at).total_seconds() < 2 + busy.total
        assert await leased_chats(db) == []
        assert await db.fetch_value("SELECT count(last_error) + max(recoveries) FROM chats") == 0
        with chatd_process(tmp_path, dsn, name="b", scripts=SCRIPTS) as b:
            await b.wait_until_ready()
            async with client(b) as api:
                await watch(api, chat_ids[0], view, is_idle)
                assert list(view.messages.values()) == ["[[slow]]", SLOW]
                for chat_id in chat_ids:
                    await api.wait_for_status(chat_id, "waiting")
                    assert await api.texts(chat_id) == [SLOW]


async def test_process_without_worker_claims_nothing_and_streams(tmp_path: Path, dsn: str) -> None:
    async with inspect_database(dsn) as db:
        with chatd_process(
            tmp_path, dsn, name="serve", settings="[worker]\nenabled = false\n", scripts=SCRIPTS
        ) as front:
            await front.wait_until_ready()
            async with client(front) as api:
                chat_id, view = (await api.create("[[slow]]"))["id"], ChatView()
                idle = ChatView()
                async with anyio.create_task_group() as group:
                    group.start_soon(watch, api, chat_id, view, is_idle)
                    with chatd_process(tmp_path, dsn, name="work", scripts=SCRIPTS) as back:
                        await back.wait_until_ready()
                        # What was there before the worker is still there: nobody else claims.
                        acquired = await db.wait_for_transition(chat_id, "claim")
                        assert acquired["worker_id"] == back.worker_id
                        await eventually(lambda: is_idle(view))
                        assert await back.wait_for_log("chat.turn", chat_id=chat_id)
                parts = [event for event in view.events if event.event == "message_part"]
                assert len(parts) > 5  # they came by way of the database
                assert view.messages == await stored(api, chat_id)
                assert not front.logged("chat.turn")
                assert front.worker_id not in {
                    row["worker_id"] for row in await db.fetch_all("SELECT worker_id FROM workers")
                }
                async with anyio.create_task_group() as group:
                    group.start_soon(watch, api, chat_id, idle)
                    await eventually(lambda: idle.events)
                    front.send_signal(signal.SIGTERM)
            assert await front.wait_for_exit() == 0


async def test_twenty_starts_and_stops_leave_nothing_behind(tmp_path: Path, dsn: str) -> None:
    """Two processes start and stop ten times each, by every signal, while messages keep coming."""
    chat_ids: list[str] = []
    ways = cycle(["grace", "no grace", "twice", "early"])

    async def start_and_stop(name: str) -> None:
        for round_number in range(10):
            way = next(ways)
            settings = grace(0 if way == "no grace" else 20)
            with chatd_process(
                tmp_path, dsn, name=f"{name}{round_number}", settings=settings, scripts=SCRIPTS
            ) as one:
                await one.wait_for_log("daemon.starting")
                if way != "early":
                    await one.wait_for_log("chat.turn")
                one.send_signal(signal.SIGTERM)
                if way == "twice":
                    await one.wait_for_log("daemon.stopping")
                    one.send_signal(signal.SIGTERM)
                assert await one.wait_for_exit() == 0, "".join(one.raw_lines)
                assert not one.logged("chat.lost"), "".join(one.raw_lines)
                assert not one.logged("supervisor.child_failed"), "".join(one.raw_lines)

    enough = False

    async def load(api: ApiClient) -> None:
        while not enough:
            chat_ids.append((await api.create(f"[[quick]] {len(chat_ids)}"))["id"])
            await anyio.sleep(0.05)  # the pace of the load, not a wait

    settings = "[worker]\nenabled = false\n"
    with chatd_process(tmp_path, dsn, name="front", settings=settings, scripts=SCRIPTS) as front:
        await front.wait_until_ready()
        async with client(front) as api, inspect_database(dsn) as db:
            async with anyio.create_task_group() as group:
                group.start_soon(load, api)
                async with anyio.create_task_group() as cycles:
                    cycles.start_soon(start_and_stop, "x")
                    cycles.start_soon(start_and_stop, "y")
                enough = True
            assert processes_of(tmp_path) == [front.process.pid]
            assert await leased_chats(db) == []
            assert await db.fetch_value("SELECT count(*) FROM workers") == 0
            with chatd_process(tmp_path, dsn, name="last", scripts=SCRIPTS) as last:
                await last.wait_until_ready()
                await eventually(lambda: unfinished(db, 0))
            assert await db.fetch_value("SELECT count(*) FROM chats") == len(chat_ids)
            assert await db.fetch_value("SELECT count(*) FROM chats WHERE status <> 'waiting'") == 0
            assert await answers(db, len(chat_ids)) == {1}


def processes_of(folder: Path) -> list[int]:
    """Return all processes that were started with a configuration of this test."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            if os.fsencode(folder) in line.read_bytes():
                found.append(int(line.parent.name))
    return found


async def unfinished(db: DatabaseInspector, limit: int) -> bool:
    query = "SELECT count(*) FROM chats WHERE status NOT IN ('waiting', 'error')"
    return int(await db.fetch_value(query)) <= limit


async def answers(db: DatabaseInspector, chats: int) -> set[int]:
    """Return the distinct numbers of answers per chat."""
    rows = await db.fetch_all(
        "SELECT count(*) AS n FROM chat_messages WHERE role = 'assistant' GROUP BY chat_id"
    )
    return {row["n"] for row in rows} | ({0} if len(rows) < chats else set())


# -- a chat -------------------------------------------------------------------------------------


async def elsewhere(
    db: DatabaseInspector, chat_id: str, both: Sequence[ChatdProcess]
) -> tuple[ChatdProcess, ChatdProcess]:
    owner, (other,) = await db.wait_for_worker(chat_id, *both)
    return owner, other


async def test_interrupt_on_other_replica_stops_worker_and_keeps_text(
    tmp_path: Path, dsn: str
) -> None:
    async with (
        replicas(tmp_path, dsn, "a", "b", settings=STEADY, scripts=SCRIPTS) as both,
        clients(both) as apis,
        inspect_database(dsn) as db,
    ):
        chat_id, view = (await apis["a"].create("[[hang]]"))["id"], ChatView()
        owner, other = await elsewhere(db, chat_id, both)
        api = apis[other.name]
        async with anyio.create_task_group() as group:
            group.start_soon(watch, apis[owner.name], chat_id, view, is_idle)
            await eventually(lambda: view.preview == BEGUN)
            assert (await api.interrupt(chat_id))["last_error"] is None
            stopped = await db.wait_for_transition(chat_id, "finish_interrupt")
        assert stopped["worker_id"] == owner.worker_id
        chat = await api.chat(chat_id)
        assert (chat["status"], chat["last_error"]) == ("waiting", None)
        assert view.messages == await stored(api, chat_id)
        assert list(view.messages.values()) == ["[[hang]]", BEGUN]
        turn = await owner.wait_for_log("chat.turn", chat_id=chat_id)
        assert turn["outcome"] == "interrupted"

        # Again, now that there is nothing to stop: nothing changes, and nobody complains.
        assert (await api.interrupt(chat_id))["version"] == chat["version"]
        await api.send(chat_id, "go on")
        await api.wait_for_status(chat_id, "waiting")
        assert await api.texts(chat_id) == [BEGUN, "You said: go on"]


async def test_repeated_interrupt_changes_nothing(tmp_path: Path, dsn: str) -> None:
    async with (
        replicas(tmp_path, dsn, "a", "b", scripts=SCRIPTS) as both,
        clients(both) as apis,
        inspect_database(dsn) as db,
    ):
        chat_id, view = (await apis["a"].create("[[hang]]"))["id"], ChatView()
        owner, other = await elsewhere(db, chat_id, both)
        await apis[other.name].follow(chat_id, view, lambda view: view.preview == BEGUN)
        owner.send_signal(signal.SIGSTOP)
        first = await apis[other.name].interrupt(chat_id)
        second = await apis[other.name].interrupt(chat_id)
        assert (second["status"], second["version"]) == ("interrupting", first["version"])
        owner.send_signal(signal.SIGCONT)
        await apis[other.name].wait_for_status(chat_id, "waiting")
        assert await db.transitions(chat_id) == [
            "create",
            "claim",
            "interrupt",
            "finish_interrupt",
        ]
        assert await apis[other.name].texts(chat_id) == [BEGUN]


async def test_interrupt_ends_backoff(tmp_path: Path, dsn: str) -> None:
    settings = STEADY + "[turn]\nbackoff_seconds = 600\nbackoff_max_seconds = 600\n"
    async with (
        replicas(tmp_path, dsn, "a", "b", settings=settings, scripts=SCRIPTS) as both,
        clients(both) as apis,
        inspect_database(dsn) as db,
    ):
        chat_id, view = (await apis["a"].create("[[busy]]"))["id"], ChatView()
        owner, other = await elsewhere(db, chat_id, both)
        api = apis[other.name]
        async with anyio.create_task_group() as group:
            group.start_soon(watch, api, chat_id, view, is_idle)
            await eventually(lambda: view.events)
            await db.wait_for_transition(chat_id, "record_retry")
            await api.interrupt(chat_id)
        await db.wait_for_transition(chat_id, "finish_interrupt")
        chat = await api.chat(chat_id)
        assert (chat["status"], chat["last_error"]) == ("waiting", None)
        assert view.messages == await stored(api, chat_id)
        assert await api.texts(chat_id) == []
        await api.send(chat_id, "[[busy]] still?")
        await api.wait_for_status(chat_id, "waiting")
        assert await api.texts(chat_id) == ["Back."]
        assert owner.logged("chat.retry", chat_id=chat_id)


async def test_interrupt_at_end_of_turn_never_blocks_chat(tmp_path: Path, dsn: str) -> None:
    """Interrupts land before, in and after the last statement of a turn, with and without a queue.

    A chat that was left interrupting would be found by no beat, and by no lease.
    """
    async with (
        replicas(tmp_path, dsn, "a", "b", settings=STEADY, scripts=SCRIPTS) as both,
        clients(both) as apis,
        inspect_database(dsn) as db,
    ):
        apis_in_turn = cycle(apis.values())

        async def one(number: int) -> None:
            api, other = next(apis_in_turn), apis["a" if number % 2 else "b"]
            chat_id, view = (await api.create(f"[[quick]] {number}"))["id"], ChatView()
            if number % 3:
                await api.send(chat_id, "[[quick]] more")

            def begun(view: ChatView) -> bool:
                return len(view.preview) > number % 20 or is_idle(view)

            await other.follow(chat_id, view, begun)
            await other.interrupt(chat_id)
            await api.interrupt(chat_id)
            if not is_idle(view):
                await other.follow(chat_id, view, is_idle)
            assert view.status == "waiting", view.events
            assert view.messages == await stored(api, chat_id)

        for _ in range(3):
            async with anyio.create_task_group() as group:
                for number in range(24):
                    group.start_soon(one, number)
        rows = await db.fetch_all(
            "SELECT chat_id, count(*) FILTER (WHERE role = 'user') AS asked,"
            " count(*) FILTER (WHERE role = 'assistant') AS answered"
            " FROM chat_messages GROUP BY chat_id"
        )
        assert all(row["answered"] <= row["asked"] for row in rows)
        assert await db.fetch_value("SELECT sum(queue_length) FROM chats") == 0
        for process in both:
            assert not process.logged("chat.lost")
            assert not process.logged("chat.panicked")
