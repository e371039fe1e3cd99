"""Interrupts of a chat, by way of either replica."""

import signal
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import anyio
from support.database_inspector import DatabaseInspector, inspect_database
from support.eventually import eventually
from support.processes import ChatdProcess, replicas
from support.replica_scripts import SCRIPTS, is_idle, stored_texts, watch
from support.sse_client import ChatView, clients

LONG_LEASES = """
[worker]
heartbeat_seconds = 600
lease_seconds = 1800
"""
"""Settings without renewals and with long leases: a worker learns of changes by notification only."""

PARTIAL_TEXT = "I begin and "


async def owner_and_other(
    db: DatabaseInspector, chat_id: str, processes: Sequence[ChatdProcess]
) -> tuple[ChatdProcess, ChatdProcess]:
    owner, (other,) = await db.wait_for_worker(chat_id, *processes)
    return owner, other


async def test_interrupt_on_other_replica_stops_worker_and_keeps_text(
    tmp_path: Path, dsn: str
) -> None:
    async with (
        replicas(tmp_path, dsn, "a", "b", settings=LONG_LEASES, scripts=SCRIPTS) as processes,
        clients(processes) as apis,
        inspect_database(dsn) as db,
    ):
        chat_id, view = (await apis["a"].create("[[hang]]"))["id"], ChatView()
        owner, other = await owner_and_other(db, chat_id, processes)
        api = apis[other.name]
        async with anyio.create_task_group() as group:
            group.start_soon(watch, apis[owner.name], chat_id, view, is_idle)
            await eventually(lambda: view.preview == PARTIAL_TEXT)
            assert (await api.interrupt(chat_id))["last_error"] is None
            stopped = await db.wait_for_transition(chat_id, "finish_interrupt")
        assert stopped["worker_id"] == owner.worker_id
        chat = await api.chat(chat_id)
        assert (chat["status"], chat["last_error"]) == ("waiting", None)
        assert view.messages == await stored_texts(api, chat_id)
        assert list(view.messages.values()) == ["[[hang]]", PARTIAL_TEXT]
        turn = await owner.wait_for_log("chat.turn", chat_id=chat_id)
        assert turn["outcome"] == "interrupted"

        # An interrupt of an idle chat changes nothing, and is no error.
        assert (await api.interrupt(chat_id))["version"] == chat["version"]
        await api.send(chat_id, "go on")
        await api.wait_for_status(chat_id, "waiting")
        assert await api.texts(chat_id) == [PARTIAL_TEXT, "You said: go on"]


async def test_repeated_interrupt_changes_nothing(tmp_path: Path, dsn: str) -> None:
    async with (
        replicas(tmp_path, dsn, "a", "b", scripts=SCRIPTS) as processes,
        clients(processes) as apis,
        inspect_database(dsn) as db,
    ):
        chat_id, view = (await apis["a"].create("[[hang]]"))["id"], ChatView()
        owner, other = await owner_and_other(db, chat_id, processes)
        await apis[other.name].follow(chat_id, view, lambda view: view.preview == PARTIAL_TEXT)
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
        assert await apis[other.name].texts(chat_id) == [PARTIAL_TEXT]


async def test_interrupt_ends_backoff(tmp_path: Path, dsn: str) -> None:
    settings = LONG_LEASES + "[turn]\nbackoff_seconds = 600\nbackoff_max_seconds = 600\n"
    async with (
        replicas(tmp_path, dsn, "a", "b", settings=settings, scripts=SCRIPTS) as processes,
        clients(processes) as apis,
        inspect_database(dsn) as db,
    ):
        chat_id, view = (await apis["a"].create("[[busy]]"))["id"], ChatView()
        owner, other = await owner_and_other(db, chat_id, processes)
        api = apis[other.name]
        async with anyio.create_task_group() as group:
            group.start_soon(watch, api, chat_id, view, is_idle)
            await eventually(lambda: view.events)
            await db.wait_for_transition(chat_id, "defer")
            await api.interrupt(chat_id)
        chat = await api.chat(chat_id)
        assert (chat["status"], chat["last_error"]) == ("waiting", None)
        assert view.messages == await stored_texts(api, chat_id)
        assert await api.texts(chat_id) == []
        await api.send(chat_id, "[[busy]] still?")
        await api.wait_for_status(chat_id, "waiting")
        assert await api.texts(chat_id) == ["Back."]
        assert owner.logged("chat.retry", chat_id=chat_id)


async def test_interrupt_at_end_of_turn_never_blocks_chat(tmp_path: Path, dsn: str) -> None:
    """Interrupts land before, in and after the last statement of a turn, with and without a queue.

    No heartbeat and no lease would find a chat that stayed interrupting.
    """
    async with (
        replicas(tmp_path, dsn, "a", "b", settings=LONG_LEASES, scripts=SCRIPTS) as processes,
        clients(processes) as apis,
        inspect_database(dsn) as db,
    ):
        apis_in_turn = cycle(apis.values())

        async def interrupt_late(number: int) -> None:
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
            assert view.messages == await stored_texts(api, chat_id)

        for _ in range(3):
            async with anyio.create_task_group() as group:
                for number in range(24):
                    group.start_soon(interrupt_late, number)
        rows = await db.fetch_all(
            "SELECT chat_id, count(*) FILTER (WHERE role = 'user') AS asked,"
            " count(*) FILTER (WHERE role = 'assistant') AS answered"
            " FROM chat_messages GROUP BY chat_id"
        )
        assert all(row["answered"] <= row["asked"] for row in rows)
        assert await db.fetch_value("SELECT sum(queue_length) FROM chats") == 0
        for process in processes:
            assert not process.logged("chat.lost")
            assert not process.logged("chat.panicked")
