"""Streams of the client over kills of the server in the middle of answers."""

import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from support.database_inspector import inspect_database
from support.eventually import TIMEOUT_SECONDS
from support.load_balancer import load_balancer
from support.processes import ChatdProcess, chatd_process, replicas
from support.server_kills import KILLS, SETUP, TEXT, KillSchedule

from chatd.client import (
    ChatEvent,
    Client,
    MessageStored,
    Snapshot,
    Transcript,
    text_of,
)

SEED = random.randrange(10**6)


class CheckedTranscript:
    """Transcript that checks that no event repeats and that each preview is a prefix of the answer."""

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.snapshots = 0
        self.ids: list[str] = []
        self.schedule = KillSchedule(SEED)

    def apply(self, event: ChatEvent) -> None:
        if isinstance(event, Snapshot):
            self.snapshots += 1
        if isinstance(event, MessageStored) and event.data["role"] == "assistant":
            text = text_of(event.data["content"])
            assert text.startswith(self.transcript.preview_text)
        self.transcript.apply(event)
        assert TEXT.startswith(self.transcript.preview_text)
        assert event.id is not None
        assert event.id not in self.ids
        self.ids.append(event.id)


async def watch(
    client: Client, checked: CheckedTranscript, kill: Callable[[], Awaitable[None]]
) -> None:
    """Follow an answer to its end, over everything; compare with what is stored."""
    chat = await client.chats.create("go")
    with anyio.fail_after(10 * TIMEOUT_SECONDS):
        async with client.follow(chat["id"]) as events:
            async for event in events:
                checked.apply(event)
                if checked.schedule.is_due(event.event, str(event.id)):
                    await kill()
                if checked.transcript.idle:
                    break
    stored = [message async for message in client.messages.list(chat["id"])]
    assert checked.schedule.kills == KILLS
    assert checked.snapshots == 1
    assert checked.transcript.messages == stored
    assert [text_of(message["content"]) for message in stored] == ["go", TEXT]
    moves = [entry["transition"] async for entry in client.chats.events(chat["id"])]
    assert moves.count("reap") == KILLS


@pytest.mark.slow
async def test_kills_of_the_only_server(tmp_path: Path, dsn: str) -> None:
    checked = CheckedTranscript()
    with ExitStack() as stack:

        def start(port: int) -> ChatdProcess:
            name = f"life-{checked.schedule.kills}"
            return stack.enter_context(chatd_process(tmp_path, dsn, name=name, port=port, **SETUP))

        async def kill() -> None:
            nonlocal chatd
            chatd.kill()
            chatd = start(port)

        chatd = start(0)
        await chatd.wait_until_ready()
        port = chatd.port
        async with Client(chatd.url) as client:
            await watch(client, checked, kill)


@pytest.mark.slow
async def test_kills_of_the_worker_behind_one_address(tmp_path: Path, dsn: str) -> None:
    checked = CheckedTranscript()
    async with (
        replicas(tmp_path, dsn, "a", "b", **SETUP) as processes,
        load_balancer(*(process.port for process in processes)) as address,
        Client(address.url) as client,
        inspect_database(dsn) as journal,
    ):
        ports = address.ports
        with ExitStack() as stack:

            async def kill() -> None:
                """Kill the servers in turn. The other continues, the killed one restarts on its port."""
                worker = str(await journal.fetch_value("SELECT worker_id FROM chats"))
                (place,) = (
                    place
                    for place, process in enumerate(processes)
                    if process.logged("daemon.starting", worker_id=worker)
                )
                processes[place].kill()
                processes[place] = stack.enter_context(
                    chatd_process(tmp_path, dsn, name="ab"[place], port=ports[place], **SETUP)
                )

            await watch(client, checked, kill)
