"""Subscribers come and go while chats stream, on their worker's replica and elsewhere.

Wherever they are disconnected, the deltas that they joined equal the stored message: a part that came
twice, or never, breaks the sequence of the words.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.eventually import eventually
from support.in_process import NO_RENEWALS, InProcessDaemon, running_daemon, running_daemons
from support.leases import orphan_chats
from support.providers import (
    FunctionProvider,
    finished,
    last_user_text,
    text_delta,
    tool_call_delta,
)
from support.sse_client import ChatView, text_of
from support.streams import apply_some
from support.trials import trials

from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

SEED = random.randrange(10**6)
_ANSWER_SECONDS = 120.0
"""Time for two answers of forty words while thirty subscribers reconnect. At load 20 on two cores a word
takes 0.2 s, and 42 s were seen for a chat that came to rest."""


def counting_provider(may_continue: asyncio.Event | None = None) -> FunctionProvider:
    """Return a provider that counts, at the pace and with the failures that the message asks for.

    It waits in the middle for ``may_continue``, if there is one.
    """
    calls: dict[tuple[str, int], int] = {}

    async def stream_numbers(request: ModelRequest) -> AsyncIterator[Delta]:
        kind, words, pause = last_user_text(request).split()
        key = str(request.messages[0].chat_id), len(request.messages)
        calls[key] = attempt = calls.get(key, 0) + 1
        for n in range(int(words)):
            if float(pause):
                await asyncio.sleep(float(pause))
            elif n % 64 == 0:
                await asyncio.sleep(0)
            if may_continue is not None and n == int(words) // 2:
                await may_continue.wait()
            yield text_delta(f"{attempt}/{n} ")
            if kind == "flaky" and attempt == 1 and n == int(words) // 2:
                raise ProviderError("no", status_code=503)
        if kind == "tool" and len(request.messages) < 4:
            yield tool_call_delta("t", f"c{len(request.messages)}", index=1)
            yield finished("tool_call")
            return
        yield finished()

    return FunctionProvider(stream_numbers)


def is_answered(view: ChatView, turns: int) -> bool:
    """Return whether so many messages were answered, as far as the client knows."""
    if view.status != "waiting" or view.events[-1].event not in {"status", "snapshot"}:
        return False
    messages_seen = [e.data for e in view.events if e.event == "message"]
    for snapshot in (e.data for e in view.events if e.event == "snapshot"):
        messages_seen += snapshot["messages"]
    return len({m["id"] for m in messages_seen if m["role"] == "user"}) >= turns


class StreamChurn:
    """Clients that disconnect again and again on any replica, until there were enough connections."""

    def __init__(self, replicas: list[InProcessDaemon], *, pause: float, connections: int) -> None:
        self.numbers = random.Random(SEED)
        self.connections = 0
        self._replicas = replicas
        self._pause = pause
        self._min_connections = connections
        self._turns: dict[str, int] = {}
        self._finished_chats: set[str] = set()

    async def send_messages(self, number: int, chat_id: str) -> None:
        """Send messages of one kind, one or two at a time, until there were enough connections."""
        kind = ("plain", "tool", "flaky", "plain")[number % 4]
        self._turns[chat_id] = 0
        while self.connections < self._min_connections:
            for _ in range(self.numbers.choice([1, 2])):
                words = self.numbers.choice([1, 9, 40])
                api = self.numbers.choice(self._replicas).api
                await api.send(chat_id, f"{kind} {words} {self._pause}")
                self._turns[chat_id] += 1
            await self._replicas[0].api.wait_for_status(chat_id, "waiting", _ANSWER_SECONDS)
        self._finished_chats.add(chat_id)

    async def follow_in_pieces(self, chat_id: str) -> None:
        view = ChatView()
        while chat_id not in self._finished_chats or not is_answered(view, self._turns[chat_id]):
            max_events = self.numbers.choice([0, 1, 1, 2, 3, 7, 20])
            await apply_some(self.numbers.choice(self._replicas), chat_id, view, max_events)
            self.connections += 1
        texts = {
            m["id"]: text_of(m["content"]) for m in await all_messages(self._replicas[0], chat_id)
        }
        assert view.messages == texts, SEED
        assert view.preview == "", SEED


async def all_messages(chatd: InProcessDaemon, chat_id: str) -> list[dict[str, Any]]:
    """Return the whole history."""
    found: list[dict[str, Any]] = []
    cursor = "0"
    while cursor:
        path = f"/api/v1/chats/{chat_id}/messages"
        page = (await chatd.api.http.get(path, params={"after_id": cursor, "limit": 200})).json()
        found += page["items"]
        cursor = page["next_cursor"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0, 0.002])
async def test_random_connections(dsn: str, pause: float) -> None:
    connections = trials(200)
    http = {"sse_keepalive_seconds": 0.1}  # An idle client disconnects, too.
    async with running_daemons(
        dsn,
        [counting_provider(), counting_provider()],
        http=http,
        limits={"max_requests": 100},  # a busy machine is no reason for 429
    ) as replicas:
        churn = StreamChurn(replicas, pause=pause, connections=connections)
        chats = [(await replicas[0].api.create())["id"] for _ in range(10)]
        async with asyncio.TaskGroup() as group:
            for number, chat_id in enumerate(chats):
                group.create_task(churn.send_messages(number, chat_id))
                for _ in range(3):
                    group.create_task(churn.follow_in_pieces(chat_id))
        assert churn.connections >= connections
        for replica in replicas:
            hub = replica.daemon.services.hub
            await eventually(lambda hub=hub: hub.subscriber_count == 0)
            await eventually(
                lambda hub=hub: not hub._topics, describe=lambda hub=hub: f"{hub._topics}"
            )


async def test_subscribers_survive_the_worker(dsn: str, database: Database) -> None:
    """A worker stops, or loses its chats, during an answer. Streams of another replica go on."""
    numbers = random.Random(SEED)
    worker = {**NO_RENEWALS, "reap_interval_seconds": 0.1, "poll_seconds": 0.1}

    async def view_of(replica: InProcessDaemon, chat_id: str) -> ChatView:
        view = ChatView()
        while not is_answered(view, 1):
            if not await apply_some(replica, chat_id, view, numbers.choice([1, 5, 50])):
                await asyncio.sleep(0.001)
        return view

    http = {"sse_keepalive_seconds": 0.1}
    async with running_daemon(
        dsn, counting_provider(), http=http, worker={"enabled": False}
    ) as front:
        chats = [(await front.api.create())["id"] for _ in range(6)]
        async with asyncio.TaskGroup() as group:
            views = [group.create_task(view_of(front, c)) for c in chats for _ in range(2)]
            may_continue = asyncio.Event()
            async with running_daemon(dsn, counting_provider(may_continue), worker=worker) as first:
                for chat_id in chats:
                    await front.api.send(chat_id, "plain 60 0.01")
                await eventually(lambda: len(first.daemon.chat_tasks.leases) == 6)
                await eventually(lambda: all_streaming(database, 6))
                async with running_daemon(dsn, counting_provider(), worker=worker) as second:
                    first.daemon.chat_tasks.stop_claiming()
                    await orphan_chats(database, *chats[:3])
                    await eventually(lambda: len(second.daemon.chat_tasks.leases) == 3)
                    may_continue.set()
                    await first.stop()
                    for chat_id in chats:
                        await second.api.wait_for_status(chat_id, "waiting")
        for chat_id, pair in zip(chats, zip(views[::2], views[1::2], strict=True), strict=True):
            [text] = await front.api.texts(chat_id)
            assert text.split() == [f"1/{n}" for n in range(60)]
            for view in pair:
                assert list(view.result().messages.values())[1:] == [text], SEED


async def all_streaming(database: Database, chats: int) -> bool:
    rows = await database.fetch("SELECT count(DISTINCT chat_id) AS n FROM chat_parts")
    return bool(rows[0]["n"] == chats)
