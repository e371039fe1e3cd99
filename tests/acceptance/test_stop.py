"""Stops of a process: turns are finished within the grace period, or released to another worker."""

import signal
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from support.database_inspector import DatabaseInspector, inspect_database
from support.eventually import eventually
from support.processes import ChatdProcess, chatd_process, replicas
from support.replica_scripts import SCRIPTS, is_idle, stored_texts, watch
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import ApiClient, ChatView, client, clients
from support.trials import trials

SLOW_TEXT = "One two three four five six seven eight nine ten eleven twelve."

HANGING_SCRIPTS = SCRIPTS.replace(
    f'text = "{SLOW_TEXT}"\nchunks = 20\ndelay_seconds = 0.15\n',
    f'text = "{SLOW_TEXT[:40]}"\nchunks = 12\n[[providers.fake.scripts.slow]]\nhang = true\n',
)
"""Scripts whose slow answer hangs in the middle, so that another worker has to finish it."""


def grace(seconds: float) -> str:
    return f"[worker]\nshutdown_grace_seconds = {seconds}\n"


async def leased_chats(db: DatabaseInspector) -> list[UUID]:
    return [
        row["worker_id"]
        for row in await db.fetch_all("SELECT * FROM chats WHERE worker_id NOTNULL")
    ]


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
        assert view.status == "running"  # the stream ended before the turn
        assert await a.wait_for_exit() == 0
        assert await db.transitions(chat_id) == ["create", "claim", "finish_turn"]
        row = (await db.fetch_all("SELECT * FROM chats WHERE id = $1", UUID(chat_id)))[0]
        assert (row["status"], row["last_error"]) == ("waiting", None)
        assert await db.fetch_value("SELECT count(*) FROM workers") == 0
        assert not a.logged("chat.lost")


async def test_turn_beyond_grace_goes_to_another_worker(tmp_path: Path, dsn: str) -> None:
    async with (
        replicas(tmp_path, dsn, "a", settings=grace(0.3), scripts=HANGING_SCRIPTS) as (owner,),
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
            async with measure_scheduling_delay(owner) as delay:
                asked_at = await db.now()
                owner.send_signal(signal.SIGTERM)
                released = await db.wait_for_transition(chat_id, "release")
            took = (released["created_at"] - asked_at).total_seconds()
            assert took < 0.3 + 2 + delay.total, delay
        assert await owner.wait_for_exit() == 0
        await watch(apis[other.name], chat_id, view, is_idle)
        assert await db.transitions(chat_id) == [
            *("create", "claim", "release", "claim", "finish_turn")
        ]
        assert view.messages == await stored_texts(apis[other.name], chat_id)
        assert list(view.messages.values()) == ["[[slow]]", SLOW_TEXT]
        assert (await apis[other.name].chat(chat_id))["last_error"] is None
        assert await db.fetch_all("SELECT worker_id FROM workers") == [(other.worker_id,)]


@pytest.mark.parametrize(("seconds", "terms"), [(0, 1), (60, 2)], ids=["no grace", "second TERM"])
async def test_stop_without_grace_releases_chats_at_once(
    tmp_path: Path, dsn: str, seconds: float, terms: int
) -> None:
    async with inspect_database(dsn) as db:
        with chatd_process(
            tmp_path, dsn, name="a", settings=grace(seconds), scripts=HANGING_SCRIPTS
        ) as a:
            await a.wait_until_ready()
            async with client(a) as api, measure_scheduling_delay(a) as delay:
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
            assert (last["created_at"] - asked_at).total_seconds() < 2 + delay.total
        assert await leased_chats(db) == []
        assert await db.fetch_value("SELECT count(last_error) + max(recoveries) FROM chats") == 0
        with chatd_process(tmp_path, dsn, name="b", scripts=SCRIPTS) as b:
            await b.wait_until_ready()
            async with client(b) as api:
                await watch(api, chat_ids[0], view, is_idle)
                assert list(view.messages.values()) == ["[[slow]]", SLOW_TEXT]
                for chat_id in chat_ids:
                    await api.wait_for_status(chat_id, "waiting")
                    assert await api.texts(chat_id) == [SLOW_TEXT]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_signals_to_ending_process_change_nothing(
    tmp_path: Path, dsn: str, number: signal.Signals
) -> None:
    with chatd_process(tmp_path, dsn, scripts=SCRIPTS) as chatd:
        await chatd.wait_until_ready()
        await chatd.wait_for_log("daemon.ready")
        chatd.send_signal(signal.SIGTERM)
        while chatd.process.poll() is None:
            chatd.send_signal(number)
            await anyio.sleep(0.001)
        assert chatd.process.returncode == 0


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
                        # The chat is still pending: no other process claims it.
                        acquired = await db.wait_for_transition(chat_id, "claim")
                        assert acquired["worker_id"] == back.worker_id
                        await eventually(lambda: is_idle(view))
                        assert await back.wait_for_log("chat.turn", chat_id=chat_id)
                parts = [event for event in view.events if event.event == "message_part"]
                assert len(parts) > 5  # they came through the database
                assert view.messages == await stored_texts(api, chat_id)
                assert not front.logged("chat.turn")
                assert front.worker_id not in {
                    row["worker_id"] for row in await db.fetch_all("SELECT worker_id FROM workers")
                }
                async with anyio.create_task_group() as group:
                    group.start_soon(watch, api, chat_id, idle)
                    await eventually(lambda: idle.events)
                    front.send_signal(signal.SIGTERM)
            assert await front.wait_for_exit() == 0


@pytest.mark.slow
async def test_starts_and_stops_leave_nothing_behind(tmp_path: Path, dsn: str) -> None:
    """Two processes start and stop again and again, by every signal, while messages keep coming."""
    chat_ids: list[str] = []
    kinds = cycle(["grace", "no grace", "twice", "early"])

    async def start_and_stop(name: str) -> None:
        for round_number in range(trials(5)):
            kind = next(kinds)
            settings = grace(0 if kind == "no grace" else 20)
            with chatd_process(
                tmp_path, dsn, name=f"{name}{round_number}", settings=settings, scripts=SCRIPTS
            ) as process:
                await process.wait_for_log("daemon.starting")
                if kind != "early":
                    await process.wait_for_log("chat.turn")
                process.send_signal(signal.SIGTERM)
                if kind == "twice":
                    await process.wait_for_log("daemon.stopping")
                    process.send_signal(signal.SIGTERM)
                assert await process.wait_for_exit() == 0, "".join(process.raw_lines)
                assert not process.logged("chat.lost"), "".join(process.raw_lines)
                assert not process.logged("supervisor.child_failed"), "".join(process.raw_lines)

    load_ended = False

    async def load(api: ApiClient) -> None:
        while not load_ended:
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
                load_ended = True
            assert siblings(front) == [front.process.pid]
            assert await leased_chats(db) == []
            assert await db.fetch_value("SELECT count(*) FROM workers") == 0
            with chatd_process(tmp_path, dsn, name="last", scripts=SCRIPTS) as last:
                await last.wait_until_ready()
                await eventually(lambda: unfinished(db, 0))
            assert await db.fetch_value("SELECT count(*) FROM chats") == len(chat_ids)
            assert await db.fetch_value("SELECT count(*) FROM chats WHERE status <> 'waiting'") == 0
            assert await answers(db, len(chat_ids)) == {1}


def siblings(process: ChatdProcess) -> list[int]:
    """Return all processes that were started by the server which started this one."""
    return [pid for pid in running_pids() if parent_of(pid) == parent_of(process.process.pid)]


def running_pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def parent_of(pid: int) -> str | None:
    with suppress(OSError):  # the process has ended
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[1]
    return None


async def unfinished(db: DatabaseInspector, limit: int) -> bool:
    query = "SELECT count(*) FROM chats WHERE status NOT IN ('waiting', 'error')"
    return int(await db.fetch_value(query)) <= limit


async def answers(db: DatabaseInspector, chats: int) -> set[int]:
    """Return the distinct numbers of answers per chat."""
    rows = await db.fetch_all(
        "SELECT count(*) AS n FROM chat_messages WHERE role = 'assistant' GROUP BY chat_id"
    )
    return {row["n"] for row in rows} | ({0} if len(rows) < chats else set())
