"""A worker dies, is stopped or becomes unreachable: another one finishes its chats, and streams resume."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import httpx2
import pytest
from support.database_inspector import DatabaseInspector, inspect_database
from support.databases import database_on_server
from support.eventually import eventually
from support.openai_stub import TOOL_CALL_DELTAS, Delta, openai_stub
from support.processes import ChatdProcess, chatd_process, replicas
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import ApiClient, ChatView, clients, text_of
from support.tcp_proxy import tcp_proxy

SLOW = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen."
SCRIPTS = f"""
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "You said: {{message}}"
chunks = 3
[[providers.fake.scripts.slow]]
text = "{SLOW}"
chunks = 20
[[providers.fake.scripts.hang]]
text = "I begin and "
chunks = 3
[[providers.fake.scripts.hang]]
hang = true
[models.fake]
provider = "fake"
model = "fake-1"
"""
HELD = SCRIPTS.replace(
    f'text = "{SLOW}"\nchunks = 20\n',
    f'text = "{SLOW[:40]}"\nchunks = 10\n[[providers.fake.scripts.slow]]\nhang = true\n',
)
"""Scripts whose slow answer hangs in the middle, so that another worker has to finish it."""

BRISK = """
[worker]
heartbeat_seconds = 0.5
lease_seconds = 4
[database]
connect_timeout_seconds = 1
statement_timeout_seconds = 2
"""


async def watch(api: ApiClient, chat_id: str, view: ChatView) -> None:
    """Follow until the turn or the connection ends."""
    with suppress(httpx2.TransportError):
        await api.follow(chat_id, view, is_idle)


def is_idle(view: ChatView) -> bool:
    return view.status in {"waiting", "error"}


def answer_started(view: ChatView) -> bool:
    return len(view.preview) > 10


async def stored(api: ApiClient, chat_id: str) -> dict[int, str]:
    return {m["id"]: text_of(m["content"]) for m in await api.messages(chat_id)}


def time_of(line: dict[str, str]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


@asynccontextmanager
async def started_answer(
    folder: Path, dsn: str, db: DatabaseInspector, content: str
) -> AsyncIterator[tuple[str, ChatdProcess, ChatdProcess, dict[str, ApiClient]]]:
    """Start a chat in the middle of its answer, its worker, and another process that could finish it."""
    async with replicas(folder, dsn, "a", scripts=HELD) as (owner,), clients([owner]) as own:
        chat_id = (await own["a"].create(content))["id"]
        await db.wait_for_transition(chat_id, "claim")
        async with (
            replicas(folder, dsn, "b", scripts=SCRIPTS) as (other,),
            clients([other]) as apis,
        ):
            yield chat_id, owner, other, own | apis


async def test_killed_worker_is_replaced_within_three_seconds(tmp_path: Path, dsn: str) -> None:
    async with (
        inspect_database(dsn) as db,
        started_answer(tmp_path, dsn, db, "[[slow]]") as (chat_id, owner, other, apis),
    ):
        bereft, steady = ChatView(), ChatView()
        async with anyio.create_task_group() as group:
            group.start_soon(watch, apis[owner.name], chat_id, bereft)
            group.start_soon(watch, apis[other.name], chat_id, steady)
            await eventually(lambda: answer_started(bereft) and answer_started(steady))
            async with measure_scheduling_delay(other) as busy:
                killed_at = await db.now()
                owner.send_signal(signal.SIGKILL)
                second = await db.wait_for_transition(chat_id, "claim", times=2)
            took = (second["created_at"] - killed_at).total_seconds()
            assert took < 3 + busy.total, busy
        await watch(apis[other.name], chat_id, bereft)
        assert (await db.transitions(chat_id)) == [
            "create",
            "claim",
            "reap",
            "claim",
            "finish_turn",
        ]
        _, first, reaped, *_ = await db.journal(chat_id)
        assert reaped["reason"] == "worker_dead"
        assert (first["worker_id"], second["worker_id"]) == (owner.worker_id, other.worker_id)
        truth = await stored(apis[other.name], chat_id)
        assert list(truth.values())[1:] == [SLOW]
        assert bereft.messages == steady.messages == truth
        assert (await apis[other.name].chat(chat_id))["last_error"] is None


async def test_queue_is_answered_in_order_after_kill(tmp_path: Path, dsn: str) -> None:
    async with (
        inspect_database(dsn) as db,
        started_answer(tmp_path, dsn, db, "[[slow]] zero") as (
            chat_id,
            owner,
            other,
            apis,
        ),
    ):
        api = apis[other.name]
        for word in ("one", "two", "three"):
            assert (await api.send(chat_id, word))["queued"]
        view = ChatView()
        async with anyio.create_task_group() as group:
            group.start_soon(watch, api, chat_id, view)
            await eventually(lambda: answer_started(view))
            owner.send_signal(signal.SIGKILL)
        chat = await api.chat(chat_id)
        assert (chat["status"], chat["queue_length"], chat["last_error"]) == ("waiting", 0, None)
        truth = await stored(api, chat_id)
        assert list(truth.values())[2:] == [
            *("one", "You said: one"),
            *("two", "You said: two"),
            *("three", "You said: three"),
        ]
        assert len(truth) == 8
        assert view.messages == truth


@pytest.mark.parametrize("queued", [False, True])
async def test_text_of_killed_interrupting_worker_is_stored(
    tmp_path: Path, dsn: str, queued: bool
) -> None:
    async with (
        replicas(tmp_path, dsn, "a", "b", scripts=SCRIPTS) as (a, b),
        clients((a, b)) as apis,
        inspect_database(dsn) as db,
    ):
        chat_id = (await apis["a"].create("[[hang]]"))["id"]
        owner, (other,) = await db.wait_for_worker(chat_id, a, b)
        api, view = apis[other.name], ChatView()
        async with anyio.create_task_group() as group:
            group.start_soon(watch, api, chat_id, view)
            await eventually(lambda: view.preview == "I begin and ")
            owner.send_signal(signal.SIGSTOP)  # so that it cannot do itself what it is asked
            if queued:
                await api.send(chat_id, "and now?", busy_behavior="interrupt")
            else:
                assert (await api.interrupt(chat_id))["status"] == "interrupting"
            async with measure_scheduling_delay(other) as busy:
                killed_at = await db.now()
                owner.send_signal(signal.SIGKILL)
                row = await db.wait_for_transition(chat_id, "reap_interrupt")
            took = (row["created_at"] - killed_at).total_seconds()
            assert took < 3 + busy.total, busy
        chat = await api.wait_for_status(chat_id, "waiting")
        assert chat["last_error"] is None
        truth = await stored(api, chat_id)
        rest = ["and now?", "You said: and now?"] if queued else []
        assert list(truth.values()) == ["[[hang]]", "I begin and ", *rest]
        assert view.messages == truth


async def test_chat_that_kills_every_worker_becomes_crash_loop(tmp_path: Path, dsn: str) -> None:
    settings = "[worker]\nmax_recoveries = 1\nreap_interval_seconds = 0.2"
    async with (
        replicas(tmp_path, dsn, "a", "b", "c", settings=settings, scripts=SCRIPTS) as alive,
        clients(alive) as apis,
        inspect_database(dsn) as db,
    ):
        chat_id = (await apis["a"].create("[[hang]]"))["id"]
        await db.wait_for_transition(chat_id, "claim")
        owner, others = await db.wait_for_worker(chat_id, *alive)
        owner.send_signal(signal.SIGKILL)
        await db.wait_for_transition(chat_id, "claim", times=2)
        owner, (last,) = await db.wait_for_worker(chat_id, *others)
        owner.send_signal(signal.SIGKILL)
        api = apis[last.name]
        chat = await api.wait_for_status(chat_id, "error")
        assert chat["last_error_detail"]["kind"] == "crash_loop"
        assert "died 2 times without progress" in chat["last_error"]
        assert last.logged("chat.crash_loop", chat_id=chat_id)
        await api.send(chat_id, "again?")
        chat = await api.wait_for_status(chat_id, "waiting")
        assert chat["last_error"] is None
        assert await api.texts(chat_id) == ["You said: again?"]


@pytest.mark.slow
@pytest.mark.parametrize("rest", [TOOL_CALL_DELTAS, None], ids=["complete", "cut"])
async def test_sigcont_worker_writes_nothing_after_takeover(
    tmp_path: Path, dsn: str, rest: list[Delta] | None
) -> None:
    """While the worker is stopped its lease expires, and its model's answer arrives or is cut off."""
    settings = "[worker]\nheartbeat_seconds = 0.5\nlease_seconds = 3\nreap_interval_seconds = 0.2\n"
    async with openai_stub(rest) as talker:
        with (
            chatd_process(
                tmp_path, dsn, name="a", settings=settings, scripts=talker.provider_config("a")
            ) as a,
            chatd_process(
                tmp_path, dsn, name="b", settings=settings, scripts=talker.provider_config("b")
            ) as b,
        ):
            await a.wait_until_ready()
            await b.wait_until_ready()
            async with clients((a, b)) as apis, inspect_database(dsn) as db:
                chat_id = (await apis["a"].create("well?"))["id"]
                owner, (other,) = await db.wait_for_worker(chat_id, a, b)
                await apis[owner.name].follow(chat_id, ChatView(), lambda view: view.preview != "")
                owner.send_signal(signal.SIGSTOP)
                await apis[other.name].wait_for_status(chat_id, "waiting")
                talker.proceed.set()
                if rest is not None:
                    await talker.first_response_sent.wait()
                before = await db.journal(chat_id)
                assert [row["reason"] for row in before if row["transition"] == "reap"] == [
                    "lease_expired"
                ]
                owner.send_signal(signal.SIGCONT)
                await owner.wait_for_log("chat.lost", chat_id=chat_id)

                # It goes on working for others: what it wrote or called until then is all there is.
                other.send_signal(signal.SIGTERM)
                assert await other.wait_for_exit() == 0
                calls = talker.calls[owner.name]
                after = (await apis[owner.name].create("and you?"))["id"]
                await apis[owner.name].wait_for_status(after, "waiting")
                assert await apis[owner.name].texts(after) == ["Let me see."]
                assert (calls, talker.calls) == (1, {owner.name: 2, other.name: 1})
                assert await db.journal(chat_id) == before
                assert await apis[owner.name].texts(chat_id) == ["Let me see."]
                assert len(owner.logged("chat.lost")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("heals", ["for all", "for new connections only"])
async def test_unreachable_worker_is_replaced_and_stops(
    tmp_path: Path, tcp_server: str, heals: str
) -> None:
    async with (
        database_on_server(tcp_server) as dsn,
        tcp_proxy(dsn) as a_way,
        tcp_proxy(dsn) as b_way,
    ):
        wires, ways = {"a": a_way[0], "b": b_way[0]}, {"a": a_way[1], "b": b_way[1]}
        async with (
            replicas(tmp_path, ways, "a", "b", settings=BRISK, scripts=SCRIPTS) as (a, b),
            clients((a, b)) as apis,
            inspect_database(dsn) as db,
        ):
            chat_id = (await apis["a"].create("[[hang]]"))["id"]
            owner, (other,) = await db.wait_for_worker(chat_id, a, b)
            await apis[owner.name].follow(chat_id, ChatView(), answer_started)
            wire = wires[owner.name]
            async with measure_scheduling_delay(owner, other) as busy:
                dead_at = await db.now()
                wire.blackhole()
                lost = await owner.wait_for_log("chat.lost", chat_id=chat_id)
                taken = await db.wait_for_transition(chat_id, "claim", times=2)
            late = timedelta(seconds=busy.total)
            assert (
                taken["created_at"] - dead_at < timedelta(seconds=4 + 2) + late
            )  # a lease, and 2 s
            assert time_of(lost) < taken["created_at"] + late
            assert (await db.journal(chat_id))[2]["reason"] == "lease_expired"

            # What was under way arrives now, late, while the other is working on the chat.
            wire.restore() if heals == "for all" else wire.restore_new_connections()
            await check_it_works_again(owner, apis[owner.name], other, db)
            rows = await db.journal(chat_id)
            late = [row for row in rows if row["version"] > taken["version"] and row["worker_id"]]
            assert owner.worker_id not in {row["worker_id"] for row in late if row["epoch"] == 2}
            assert len(owner.logged("chat.lost")) == 1
            assert len(owner.logged("outage.began", child="heartbeat")) == 1


async def check_it_works_again(
    owner: ChatdProcess, api: ApiClient, other: ChatdProcess, db: DatabaseInspector
) -> None:
    """Stop the other process, so that only the unreachable one can answer."""
    other.send_signal(signal.SIGTERM)
    await other.wait_for_log("daemon.stopping")
    chat_id = (await api.create("still there?"))["id"]
    await api.wait_for_status(chat_id, "waiting")
    assert (await db.journal(chat_id))[-1]["worker_id"] == owner.worker_id
