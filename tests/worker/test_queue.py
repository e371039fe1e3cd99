"""Queue: messages that are sent while a chat is busy."""

import asyncio
from collections.abc import AsyncIterator

from support.eventually import eventually
from support.in_process import running_daemon
from support.providers import FunctionProvider, finished, last_user_text, scripted, text_delta
from support.sse_client import ChatView

from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest


class GatedProvider:
    """Provider that holds its response to the message ``0`` until it is released."""

    def __init__(self) -> None:
        self.provider = FunctionProvider(self._act)
        self.waiting = 0
        self.go = asyncio.Event()

    async def _act(self, request: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta(f"{request.model} on ")
        if last_user_text(request) == "0":
            self.waiting += 1
            try:
                await self.go.wait()
            finally:
                self.waiting -= 1
        yield text_delta(last_user_text(request))
        yield finished()


async def test_queued_messages_run_in_order_each_with_its_model(dsn: str) -> None:
    gate = GatedProvider()
    async with running_daemon(dsn, gate.provider) as chatd:
        api = chatd.api
        chat = await api.create("0", model="one")
        await eventually(lambda: gate.waiting)
        for number in range(1, 6):
            sent = await api.send(chat["id"], str(number), model="two" if number % 2 else "one")
            assert sent["queued"] is True
            assert sent["message"] is None
            assert sent["queued_message"]["model"] == ("two" if number % 2 else "one")
            assert sent["chat"]["queue_length"] == number
            assert sent["chat"]["model"] == "one"  # the running turn's
        waiting = (await api.http.get(f"/api/v1/chats/{chat['id']}/queue")).json()["items"]
        assert [item["content"][0]["text"] for item in waiting] == list("12345")
        gate.go.set()
        rested = await api.wait_for_status(chat["id"], "waiting")
        assert (rested["queue_length"], rested["model"]) == (0, "two")
        assert await api.texts(chat["id"]) == [
            f"m-{'two' if n % 2 else 'one'} on {n}" for n in range(6)
        ]
        assert await api.texts(chat["id"], "user") == list("012345")
        assert len(await chatd.journal(chat["id"], "claim")) == 1  # one lease for all of them


async def test_message_without_a_model_uses_the_chat_model(dsn: str) -> None:
    gate = GatedProvider()
    async with running_daemon(dsn, gate.provider) as chatd:
        chat = await chatd.api.create("0", model="two")
        await eventually(lambda: gate.waiting)
        assert (await chatd.api.send(chat["id"], "1"))["queued_message"]["model"] == "two"
        gate.go.set()
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["m-two on 0", "m-two on 1"]


async def test_interrupting_message_goes_to_the_head_of_the_queue(dsn: str) -> None:
    gate = GatedProvider()
    async with running_daemon(dsn, gate.provider) as chatd:
        api = chatd.api
        chat = await api.create("0")
        await eventually(lambda: gate.waiting)
        await api.send(chat["id"], "later")
        sent = await api.send(chat["id"], "urgent", busy_behavior="interrupt")
        assert sent["queued"] is True
        assert sent["chat"]["status"] == "interrupting"
        await api.wait_for_status(chat["id"], "waiting")
        assert await api.texts(chat["id"], "user") == ["0", "urgent", "later"]
        assert await api.texts(chat["id"]) == ["m-one on ", "m-one on urgent", "m-one on later"]


async def test_two_interrupting_messages_are_both_answered(dsn: str) -> None:
    """The second one is sent while the first one interrupts the turn, or just after it started."""
    gate = GatedProvider()
    async with running_daemon(dsn, gate.provider) as chatd:
        api = chatd.api
        chat = await api.create("0")
        await eventually(lambda: gate.waiting)
        await asyncio.gather(
            *(api.send(chat["id"], f"urgent {n}", busy_behavior="interrupt") for n in range(2))
        )
        await api.wait_for_status(chat["id"], "waiting")
        assert sorted(await api.texts(chat["id"], "user")) == ["0", "urgent 0", "urgent 1"]


async def test_rejected_message_changes_nothing(dsn: str) -> None:
    gate = GatedProvider()
    async with running_daemon(dsn, gate.provider) as chatd:
        chat = await chatd.api.create("0")
        await eventually(lambda: gate.waiting)
        before = await chatd.api.chat(chat["id"])
        answer = await chatd.api.http.post(
            f"/api/v1/chats/{chat['id']}/messages",
            json={"content": "no", "busy_behavior": "reject"},
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "chat_busy")
        assert await chatd.api.chat(chat["id"]) == before
        gate.go.set()
        await chatd.api.wait_for_status(chat["id"], "waiting")
        sent = await chatd.api.send(chat["id"], "yes", busy_behavior="reject")
        assert sent["queued"] is False
        await chatd.api.wait_for_status(chat["id"], "waiting")


async def test_failed_turn_keeps_the_queue_until_the_next_message(dsn: str) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if last_user_text(request) == "fail":
            reached.set()
            await go.wait()
            raise ProviderError("no", status_code=401)
        yield text_delta(f"on {last_user_text(request)}")
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        chat = await chatd.api.create("fail")
        await reached.wait()
        await chatd.api.send(chat["id"], "queued")
        go.set()
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["queue_length"] == 1
        sent = await chatd.api.send(chat["id"], "last")
        assert (sent["queued"], sent["chat"]["queue_length"]) == (True, 1)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"], "user") == ["fail", "queued", "last"]
        assert await chatd.api.texts(chat["id"]) == ["on queued", "on last"]


async def test_interrupt_goes_on_with_the_queue(dsn: str) -> None:
    gate = GatedProvider()
    async with running_daemon(dsn, gate.provider) as chatd:
        chat = await chatd.api.create("0")
        await eventually(lambda: gate.waiting)
        await chatd.api.send(chat["id"], "next")
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["m-one on ", "m-one on next"]


async def test_queue_changes_are_streamed(dsn: str) -> None:
    gate = GatedProvider()
    async with running_daemon(dsn, gate.provider) as chatd:
        chat = await chatd.api.create("0")
        await eventually(lambda: gate.waiting)
        view = ChatView()

        async def speak() -> None:
            await eventually(lambda: view.status == "running")
            await chatd.api.send(chat["id"], "1")
            gate.go.set()

        speaking = asyncio.create_task(speak())
        await chatd.api.follow(chat["id"], view, lambda view: view.status == "waiting")
        await speaking
        updates = [e.data for e in view.events if e.event == "queue_update"]
        assert [u["queue_length"] for u in updates] == [1, 0]
        assert [updates[0]["added"]] == updates[1]["removed"]
        assert list(view.messages.values()) == ["0", "m-one on 0", "1", "m-one on 1"]


async def test_concurrent_messages_are_all_answered(dsn: str) -> None:
    """Twenty clients send at the same moment to a chat that answers at once."""
    async with running_daemon(dsn, scripted()) as chatd:
        chat = await chatd.api.create()
        await asyncio.gather(*(chatd.api.send(chat["id"], str(n)) for n in range(20)))
        await eventually(lambda: all_answered(chatd.api, chat["id"]))
        users = await chatd.api.texts(chat["id"], "user")
        assert sorted(users, key=int) == [str(n) for n in range(20)]
        assert await chatd.api.texts(chat["id"]) == [f"You said: {n}" for n in users]


async def all_answered(api: object, chat_id: str) -> bool:
    return len(await api.texts(chat_id)) == 20  # type: ignore[attr-defined]
