"""Requests of the Python client, as a server receives them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from chatd.client import Client, NotFound

HOSTILE = "../../../statusz"
IDS = [HOSTILE, "..%2f..%2fstatusz", "a/b", "a?b=c", "a#b", "a b", "ü", "%", "\\..\\"]


class RecordingServer:
    """Server that answers with ``statuses`` in turn, the last one for ever, and records requests."""

    def __init__(self, *answers: tuple[int, str] | None) -> None:
        self._answers = answers
        self.targets: list[str] = []
        self.tokens: list[str | None] = []

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            request_line, *lines = head.decode().split("\r\n")
            self.targets.append(request_line.split(" ")[1])
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
            self.tokens.append(headers.get("authorization"))
            answer = self._answers[min(len(self.targets), len(self._answers)) - 1]
            if answer is None:
                return  # the response is lost
            status, code = answer
            body = json.dumps({"code": code, "items": [], "detail": code}).encode()
            await stream.send(
                b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%s" % (status, len(body), body)
            )


@asynccontextmanager
async def recording_server(
    *answers: tuple[int, str] | None,
) -> AsyncIterator[tuple[str, RecordingServer]]:
    server = RecordingServer(*answers)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield f"http://127.0.0.1:{port}", server
        group.cancel_scope.cancel()


async def test_children_are_listed_by_their_parent() -> None:
    async with recording_server((200, "ok")) as (url, server), Client(url) as client:
        assert [chat async for chat in client.chats.children("c&1", max_items=7)] == []
    assert server.targets == ["/api/v1/chats?archived=any&parent=c%261&limit=7"]


async def test_ids_stay_in_their_place_of_the_path() -> None:
    async with recording_server((200, "ok")) as (url, server), Client(url) as client:
        for chat_id in IDS:
            server.targets.clear()
            await client.chats.get(chat_id)
            await client.chats.update(chat_id, title="t")
            await client.chats.interrupt(chat_id)
            await client.chats.explain(chat_id)
            await client.messages.send(chat_id, "hello")
            await client.queue.list(chat_id)
            await client.queue.remove(chat_id, 1)
            assert [one async for one in client.messages.list(chat_id)] == []
            for target in server.targets:
                path = target.partition("?")[0]
                assert path.startswith("/api/v1/chats/")
                assert ".." not in path.split("/")
                assert len(path.split("/")) <= len(["", "api", "v1", "chats", "ID", "queue", "1"])
            assert len({target.split("/")[4].partition("?")[0] for target in server.targets}) == 1
        server.targets.clear()
        for chat_id in ("", ".", ".."):
            with pytest.raises(ValueError, match="not an id"):
                await client.chats.delete(chat_id)
        assert server.targets == []


@pytest.mark.parametrize(
    ("code", "is_done"),
    [("queued_message_not_found", True), ("chat_not_found", False), ("not_found", False)],
)
async def test_repeated_remove_is_decided_by_the_code(code: str, is_done: bool) -> None:
    async with recording_server(None, (404, code)) as (url, server), Client(url) as client:
        if is_done:
            await client.queue.remove("c", 1)
        else:
            with pytest.raises(NotFound):
                await client.queue.remove("c", 1)
        assert len(server.targets) == 2


async def test_token_may_be_a_function() -> None:
    numbers = iter(range(10))

    def token() -> str:
        return f"t{next(numbers)}"

    async def token_later() -> str:
        await anyio.lowlevel.checkpoint()
        return token()

    for source in (token, token_later):
        async with (
            recording_server(None, (200, "ok")) as (url, server),
            Client(url, token=source) as client,
        ):
            await client.chats.get("c")
            first, second = (int(str(each).removeprefix("Bearer t")) for each in server.tokens)
            assert second == first + 1, "asked for anew, also for a repetition"
