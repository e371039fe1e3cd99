"""Requests whose response is lost are repeated by the client, and executed once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from support.in_process import InProcessDaemon, running_daemon
from support.load_balancer import LoadBalancer, load_balancer

from chatd.client import Client, Conflict, NotFound, Transcript, text_of


@asynccontextmanager
async def lossy(chatd: InProcessDaemon, losses: int) -> AsyncIterator[tuple[Client, LoadBalancer]]:
    """Yield a client whose first responses never arrive."""

    def byte_limit() -> int | None:
        return 0 if address.connections <= losses else None

    assert chatd.daemon.server is not None
    async with (
        load_balancer(chatd.daemon.server.port, response_byte_limit=byte_limit) as address,
        Client(address.url) as client,
    ):
        yield client, address


async def wait_until_idle(client: Client, chat_id: str) -> Transcript:
    transcript = Transcript()
    async with client.follow(chat_id) as events:
        async for event in events:
            transcript.apply(event)
            if transcript.idle:
                break
    return transcript


async def test_repeated_create_makes_one_chat(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        async with lossy(chatd, 2) as (client, address):
            chat = await client.chats.create("hello", title="once")
            assert address.connections == 3
            assert [each["id"] async for each in client.chats.list()] == [chat["id"]]
            transcript = await wait_until_idle(client, chat["id"])
        texts = [text_of(message["content"]) for message in transcript.messages]
        assert texts == ["hello", "You said: hello"]


Action = Callable[[Client, str], Awaitable[object]]


async def _send(client: Client, chat_id: str) -> None:
    await client.messages.send(chat_id, "more")


async def _edit(client: Client, chat_id: str) -> None:
    first = await anext(client.messages.list(chat_id))
    message = await client.messages.edit(chat_id, first["id"], "other")
    assert text_of(message["content"]) == "other"


async def _change(client: Client, chat_id: str) -> None:
    assert (await client.chats.update(chat_id, title="new"))["title"] == "new"


async def _clear(client: Client, chat_id: str) -> None:
    await client.chats.clear(chat_id)


@pytest.mark.parametrize(
    ("do", "transition"),
    [(_send, "send"), (_edit, "edit"), (_change, "describe"), (_clear, "clear")],
    ids=["send", "edit", "change", "clear"],
)
async def test_repeated_request_makes_one_transition(dsn: str, do: Action, transition: str) -> None:
    async with running_daemon(dsn) as chatd:
        async with lossy(chatd, 0) as (client, _):
            chat = await client.chats.create("hello")
            await wait_until_idle(client, chat["id"])
        async with lossy(chatd, 1) as (client, address):
            await do(client, chat["id"])
            assert address.connections == 2
            await wait_until_idle(client, chat["id"])
            transitions = [entry["transition"] async for entry in client.chats.events(chat["id"])]
        assert transitions.count(transition) == 1


async def test_repeated_delete_succeeds(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        async with lossy(chatd, 0) as (client, _):
            chat = await client.chats.create()
        async with lossy(chatd, 1) as (client, address):
            await client.chats.delete(chat["id"])
            assert address.connections == 2
            with pytest.raises(NotFound):
                await client.chats.delete(chat["id"])


async def test_given_key_is_shared_by_two_clients(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        made = []
        for _ in range(2):
            async with lossy(chatd, 0) as (client, _):
                made.append(await client.chats.create("hello", idempotency_key="order-1"))
        assert made[0]["id"] == made[1]["id"]


async def test_conflict_is_not_retried(dsn: str) -> None:
    async with running_daemon(dsn) as chatd, lossy(chatd, 0) as (client, address):
        chat = await client.chats.create()
        with pytest.raises(Conflict) as caught:
            await client.chats.retry(chat["id"])
        assert (caught.value.status, caught.value.code) == (409, "nothing_to_retry")
        assert caught.value.detail in str(caught.value)
        assert address.connections == 1
