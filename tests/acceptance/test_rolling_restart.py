"""Two replicas restart one after the other, under load, behind a balancer that polls /readyz."""

import signal
from contextlib import AsyncExitStack
from itertools import count, cycle
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import TaskGroup
from support.eventually import eventually
from support.processes import ChatdProcess, chatd_process
from support.sse_client import ApiClient, ChatView, client
from support.streams import journal_events

STREAMS = 50
ANSWER = "One two three four five six seven eight nine ten eleven twelve. " * 3
"""Answer that takes longer than a replica waits before it ends its streams."""
SCRIPTS = f"""
[http]
drain_seconds = 5
[worker]
shutdown_grace_seconds = 1
[database]
pool_size = 5
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "{ANSWER}"
chunks = 40
delay_seconds = 0.3
[models.fake]
provider = "fake"
model = "fake-1"
"""


class Balancer:
    """Load balancer that polls the readiness of each replica and returns the ready ones in turn."""

    def __init__(self, asking: TaskGroup) -> None:
        self._asking = asking
        self._clients: dict[str, ApiClient] = {}
        self._ready: set[str] = set()
        self._turns = count()

    def pick(self) -> ApiClient:
        ready = sorted(self._ready)
        assert ready, "nobody is ready"
        return self._clients[ready[next(self._turns) % len(ready)]]

    async def _ask(self, name: str) -> None:
        """Poll one replica for as long as it responds."""
        try:
            while True:
                answer = await self._clients[name].http.get("/readyz")
                (self._ready.add if answer.status_code == 200 else self._ready.discard)(name)
                await anyio.sleep(0.05)
        except httpx2.TransportError:
            assert name not in self._ready, f"{name} went without a word"

    async def start(self, stack: AsyncExitStack, folder: Path, dsn: str, name: str) -> ChatdProcess:
        """Add a replica and wait until it is ready."""
        chatd = stack.enter_context(chatd_process(folder, dsn, name=name, scripts=SCRIPTS))
        await chatd.wait_until_ready()
        self._clients[name] = await stack.enter_async_context(client(chatd))
        self._asking.start_soon(self._ask, name)
        await eventually(lambda: name in self._ready)
        return chatd


class Subscriber:
    """Client of one chat that follows its stream through all restarts."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self.view = ChatView()
        self.chat_id = ""
        self.turns = 0
        self.drained = 0

    async def talk(self, enough: anyio.Event) -> None:
        self.chat_id = (await self._balancer.pick().create("go"))["id"]
        self.turns = 1
        await self._follow()
        while not enough.is_set():
            await self._balancer.pick().send(self.chat_id, "go on")
            self.turns += 1
            await self._follow()

    async def _follow(self) -> None:
        while not self._seen(self.view):
            await self._balancer.pick().follow(
                self.chat_id, self.view, self._seen, timeout_seconds=120
            )
            if not self._seen(self.view):
                # A stream ends for one reason only, and says so.
                assert self.view.events[-1].event == "draining"
                self.drained += 1

    def _seen(self, view: ChatView) -> bool:
        return len(view.messages) == 2 * self.turns and view.status == "waiting"

    async def check(self, api: ApiClient) -> None:
        """Check that the resumed stream equals a fresh one and the stored chat."""
        first, *rest = [e for e in self.view.events if e.event != "draining"]
        assert first.event == "snapshot"
        heard = journal_events(rest)
        whole = ChatView(cursor=first.id)
        await api.follow(
            self.chat_id, whole, lambda view: len(journal_events(view.events)) == len(heard)
        )
        assert journal_events(whole.events) == heard
        assert list(self.view.messages.values())[1::2] == [ANSWER] * self.turns
        stored = {m["id"]: m["content"][0]["text"] for m in await api.messages(self.chat_id)}
        assert self.view.messages == stored
        assert (await api.chat(self.chat_id))["last_error"] is None


async def requests(balancer: Balancer, enough: anyio.Event, statuses: list[int]) -> None:
    """Send short requests, up to fifty a second. One that fails ends the test."""
    paths = cycle(["/api/v1/chats?limit=5", "/api/v1/models", "/livez"])
    while not enough.is_set():
        answer = await balancer.pick().http.get(next(paths))
        statuses.append(answer.status_code)
        await anyio.sleep(0.02)  # the pace of the load, not a wait


@pytest.mark.slow
async def test_rolling_restart_fails_no_request_and_resumes_streams(
    tmp_path: Path, dsn: str
) -> None:
    statuses: list[int] = []
    async with AsyncExitStack() as stack, anyio.create_task_group() as asking:
        balancer, enough = Balancer(asking), anyio.Event()
        viewers = [Subscriber(balancer) for _ in range(STREAMS)]
        replicas = [await balancer.start(stack, tmp_path, dsn, name) for name in ("a", "b")]
        async with anyio.create_task_group() as load:
            for viewer in viewers:
                load.start_soon(viewer.talk, enough)
            for _ in range(4):
                load.start_soon(requests, balancer, enough, statuses)
            await eventually(lambda: all(viewer.view.events for viewer in viewers))
            for replica in replicas:
                replica.send_signal(signal.SIGTERM)
                assert await replica.wait_for_exit(60) == 0
                await balancer.start(stack, tmp_path, dsn, f"{replica.name}2")
            enough.set()
        assert set(statuses) == {200}
        assert len(statuses) > 100
        # Who is in the middle of a turn when its replica ends the streams is told so; that is most.
        assert sum(viewer.drained for viewer in viewers) > STREAMS // 2
        for viewer in viewers:
            await viewer.check(balancer.pick())
        for replica in replicas:
            assert not replica.logged("chat.lost")
            assert replica.logged("daemon.stopped")
        asking.cancel_scope.cancel()
