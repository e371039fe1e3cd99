"""A dump that is restored as docs/operations/backup.md says is complete, and its chats continue."""

import subprocess
from pathlib import Path

import asyncpg
from support.database_inspector import DatabaseInspector, inspect_database
from support.databases import database_on_server
from support.processes import chatd_process
from support.sse_client import ApiClient, ChatView, client

from chatd.embedded.binaries import packaged_bin_dir

NO_WORKER = {"CHATD_WORKER__ENABLED": "false"}


def answer_started(view: ChatView) -> bool:
    return len(view.preview) > 10


async def create_and_wait(api: ApiClient, content: str) -> str:
    chat_id: str = (await api.create(content))["id"]
    await api.wait_for_status(chat_id, "waiting")
    return chat_id


async def first_events_for_newer_cursor(api: ApiClient, chat_id: str) -> list[str]:
    """Return the first events for a client whose cursor is newer than the backup."""
    stream = api.stream(chat_id, "99.0.0")
    first = [(await anext(stream)).event for _ in range(2)]
    await stream.aclose()  # type: ignore[attr-defined]
    return first


def dump(dsn: str, file: Path) -> None:
    command = [packaged_bin_dir() / "pg_dump", "--format=custom", "--file", file, dsn]
    subprocess.run(command, check=True, timeout=60)


def restore(file: Path, dsn: str) -> None:
    command = [packaged_bin_dir() / "pg_restore", "--exit-on-error", "--dbname", dsn, file]
    subprocess.run(command, check=True, timeout=60)


async def table_rows(inspector: DatabaseInspector) -> dict[str, list[asyncpg.Record]]:
    """Return all rows of each table, but for the columns that say how far a running step is."""
    tables = ["chats", "chat_messages", "chat_queued_messages", "chat_events", "chat_tool_calls"]
    return {one: await inspector.fetch_all(f"SELECT * FROM {one} ORDER BY 1, 2") for one in tables}


async def test_restored_dump_is_complete_and_continues_turns(
    tmp_path: Path, tcp_server: str
) -> None:
    file = tmp_path / "chatd.dump"
    async with database_on_server(tcp_server) as dsn, inspect_database(dsn) as inspector:
        with chatd_process(tmp_path, dsn) as chatd:
            await chatd.wait_until_ready()
            async with client(chatd) as api:
                done = await create_and_wait(api, "before")
                under_way = (await api.create("[[hang]]"))["id"]
                await api.follow(under_way, ChatView(), answer_started)
                await api.send(under_way, "waits in line")
                chatd.kill()
        before = await table_rows(inspector)
        dump(dsn, file)
    async with (
        database_on_server(tcp_server, schema=False) as copy,
        inspect_database(copy) as inspector,
    ):
        restore(file, copy)
        assert await table_rows(inspector) == before
        with chatd_process(tmp_path, copy, environment=NO_WORKER) as onlooker:
            await onlooker.wait_until_ready()
            async with client(onlooker) as api:
                assert await api.texts(done) == ["You said: before"]
                assert (await api.chat(under_way))["status"] == "running"
                assert await first_events_for_newer_cursor(api, done) == ["reset", "snapshot"]
            assert await table_rows(inspector) == before
        with chatd_process(tmp_path, copy) as worker:
            await worker.wait_until_ready()
            async with client(worker) as api:
                await inspector.wait_for_transition(under_way, "claim", times=2)
                await api.interrupt(under_way)
                await api.wait_for_status(under_way, "waiting")
                assert (await api.texts(under_way))[-1] == "You said: waits in line"
                await api.send(done, "after")
                await inspector.wait_for_transition(done, "finish_turn", times=2)
                assert await api.texts(done) == ["You said: before", "You said: after"]
