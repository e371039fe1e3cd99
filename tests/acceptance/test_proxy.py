"""Behind the proxy of ``deploy/``, a real Caddy: events are not buffered, and restarts fail no request."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket

import anyio
import httpx2
import pytest
from support.child_process import child_process
from support.eventually import eventually
from support.processes import ChatdProcess, chatd_process

from chatd.client import Client, StatusChanged, Transcript, text_of

CADDYFILE = Path(__file__).parents[2] / "deploy" / "Caddyfile"
SAID = "One two three four five six seven eight nine ten eleven twelve. "
SCRIPTS = f"""
[http]
drain_seconds = 3
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "{SAID}"
chunks = 40
delay_seconds = 0.1
[[providers.fake.scripts.hang]]
text = "I begin and "
[[providers.fake.scripts.hang]]
hang = true
[models.fake]
provider = "fake"
model = "fake-1"
"""

pytestmark = pytest.mark.skipif(shutil.which("caddy") is None, reason="there is no caddy here")


def free_ports(count: int) -> list[int]:
    sockets = [socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    numbers = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return numbers


@contextmanager
def running_proxy(folder: Path, near: int, replicas: dict[str, int]) -> Iterator[str]:
    """Run the proxy in front of the replicas. Yield its URL."""
    text = CADDYFILE.read_text()
    for name, port in replicas.items():
        assert f"{name}:8080" in text
        text = text.replace(f"{name}:8080", f"127.0.0.1:{port}")
    file = folder / "Caddyfile"
    file.write_text(text.replace("\n:8080 {", f"\nhttp://127.0.0.1:{near} {{"))
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]
    with (folder / "caddy.log").open("wb") as log, child_process(command, stderr=log):
        yield f"http://127.0.0.1:{near}"


async def wait_for_proxy(url: str) -> None:
    """Wait until the proxy knows a ready replica."""
    async with httpx2.AsyncClient(base_url=url) as http:

        async def answers() -> bool:
            try:
                return (await http.get("/readyz")).is_success
            except httpx2.TransportError:
                return False

        await eventually(answers)


async def test_events_pass_proxy_unbuffered(tmp_path: Path, dsn: str) -> None:
    near, a, b = free_ports(3)
    with (
        chatd_process(tmp_path, dsn, name="a", scripts=SCRIPTS, port=a) as one,
        chatd_process(tmp_path, dsn, name="b", scripts=SCRIPTS, port=b) as other,
        running_proxy(tmp_path, near, {"chatd-a": a, "chatd-b": b}) as url,
    ):
        await one.wait_until_ready()
        await other.wait_until_ready()
        await wait_for_proxy(url)
        async with Client(url) as client:
            chat = await client.chats.create("[[hang]]")
            with anyio.fail_after(20):
                async with client.follow(chat["id"]) as events:
                    transcript = Transcript()
                    async for event in events:
                        transcript.apply(event)
                        if transcript.preview_text:
                            break
            assert transcript.preview_text == "I begin and "
            assert (await client.chats.get(chat["id"]))["status"] == "running"


class Load:
    """Load of one client that uses a chat, and of others that send requests without retries."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.enough = False
        self.answered = 0
        self.turns = 0
        self.gaps = 0

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(self._ask)
            group.start_soon(self._talk)

    async def _ask(self) -> None:
        async with httpx2.AsyncClient(base_url=self._url, timeout=30) as http:
            while not self.enough:
                answer = await http.get("/api/v1/chats?limit=5")
                assert answer.status_code == 200, answer.text
                self.answered += 1

    async def _talk(self) -> None:
        transcript = Transcript()
        async with Client(self._url) as client:
            chat = await client.chats.create("go")
            async with client.follow(chat["id"], on_reconnect=self._gap) as events:
                async for event in events:
                    transcript.apply(event)
                    assert SAID.startswith(transcript.preview_text)
                    if isinstance(event, StatusChanged) and transcript.idle:
                        self.turns += 1
                        if self.enough:
                            break
                        await client.messages.send(chat["id"], "go on")
        said = [m["content"] for m in transcript.messages if m["role"] == "assistant"]
        assert [text_of(content) for content in said] == [SAID] * self.turns

    def _gap(self, *_: object) -> None:
        self.gaps += 1


async def wait_for_request(chatd: ChatdProcess) -> None:
    """Wait until the proxy has sent a request to this process."""
    async with httpx2.AsyncClient(base_url=chatd.url) as http:

        async def counted() -> bool:
            return 'route="/api/v1/chats",status="200"' in (await http.get("/metrics")).text

        await eventually(counted)


async def test_rolling_restart_behind_proxy_fails_no_request(tmp_path: Path, dsn: str) -> None:
    near, *far = free_ports(3)
    names = ("chatd-a", "chatd-b")
    with (
        ExitStack() as stack,
        running_proxy(tmp_path, near, dict(zip(names, far, strict=True))) as url,
    ):

        async def start(name: str, port: int) -> ChatdProcess:
            options = {"name": name, "scripts": SCRIPTS, "port": port}
            chatd = stack.enter_context(chatd_process(tmp_path, dsn, **options))
            await chatd.wait_until_ready()
            return chatd

        replicas = [await start(name, port) for name, port in zip(names, far, strict=True)]
        await wait_for_proxy(url)
        load = Load(url)
        async with anyio.create_task_group() as group:
            group.start_soon(load.run)
            for replica in replicas:
                await wait_for_request(replica)
                replica.send_signal(signal.SIGTERM)
                assert await replica.wait_for_exit() == 0
                await wait_for_request(await start(f"{replica.name} again", replica.port))
            load.enough = True
        assert load.answered > 100
        assert load.gaps > 0
