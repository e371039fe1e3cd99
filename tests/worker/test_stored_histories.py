"""Histories that a real daemon stored: each request of its worker is acceptable to every kind of provider.

``contract/test_random_histories.py`` does the same with far more histories, without a database.
"""

import random
from collections.abc import AsyncIterator

import anyio
from support.captured_requests import CapturingProvider, rules_of
from support.files import as_input
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished
from support.random_histories import PROVIDERS, RandomChat
from support.request_rules import DIALECTS, violations

from chatd.domain.message import Part
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, Finished, ModelRequest, PartDelta, ToolSpec
from chatd.llm.vendors.files import refusal

CHATS = 8
STEPS = 8
TOOL = {"name": "weather", "description": "", "parameters": {"type": "object"}}
IDLE = ("waiting", "error", "requires_action")


class CheckingModel:
    """Model that answers at random, after it has checked the request for every kind of provider."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self.writer = RandomChat(7, allows=takes_everywhere)
        self._providers = [CapturingProvider(kind, name=name) for name, kind in PROVIDERS.items()]
        self.breaches: list[str] = []
        self.checked = 0
        self.streaming = anyio.Event()
        self.hangs = False

    async def answer(self, request: ModelRequest) -> AsyncIterator[Delta]:
        for provider in self._providers:
            body = await provider.body(
                request.messages, tools=(ToolSpec(**TOOL),), read_files=request.read_files
            )
            self.breaches += violations(body, DIALECTS[provider.kind])
            self.checked += 1
        self.writer.provider = self._random.choice(tuple(PROVIDERS))
        for delta in self.writer.deltas():
            yield PartDelta(delta)
        if self.hangs:
            self.streaming.set()
            await anyio.sleep_forever()
        if self._random.random() < 0.2:
            raise ProviderError("No.", status_code=400)
        yield Finished(self._random.choice(("stop", "length")), finished().usage)

    async def aclose(self) -> None:
        for provider in self._providers:
            await provider.aclose()


def takes_everywhere(_: str, part: Part) -> bool:
    kinds = PROVIDERS.values()
    return all(refusal(part, file_types=rules_of(kind).file_types) is None for kind in kinds)


async def settled(chatd: InProcessDaemon, chat_id: str) -> dict[str, object]:
    """Wait until the chat needs its client. Return it."""
    while True:
        chat = await chatd.api.chat(chat_id)
        if chat["status"] in IDLE:
            return chat
        await anyio.sleep(0.02)


async def test_requests_of_stored_histories_are_acceptable(dsn: str) -> None:
    model = CheckingModel()
    choose = random.Random(11).choice
    async with running_daemon(dsn, FunctionProvider(model.answer)) as chatd:
        for _ in range(CHATS):
            chat = await chatd.api.create(tools=[TOOL], system_prompt="Be kind.")
            url = f"/api/v1/chats/{chat['id']}"
            for _ in range(STEPS):
                content = [as_input(part) for part in model.writer.user_content("claude")]
                content = [p for p in content if p.get("text") != "" and p.get("media_type") != ""]
                action = choose(("send", "send", "stop", "edit", "results"))
                users = [
                    m["id"] for m in await chatd.api.messages(chat["id"]) if m["role"] == "user"
                ]
                model.streaming, model.hangs = anyio.Event(), action == "stop"
                if action == "edit" and users:
                    await chatd.api.http.patch(
                        f"{url}/messages/{choose(users)}", json={"content": content}
                    )
                elif action == "results" and users:
                    chat = await chatd.api.chat(chat["id"])
                    last = (await chatd.api.messages(chat["id"]))[-1]
                    calls = [p for p in last["content"] if p["type"] == "tool-call"]
                    results = [
                        {"tool_call_id": c["tool_call_id"], "result": choose((None, "", 1))}
                        for c in calls
                    ]
                    await chatd.api.http.post(f"{url}/tool-results", json={"results": results})
                else:
                    await chatd.api.http.post(
                        f"{url}/messages",
                        json={"content": content, "busy_behavior": "interrupt"},
                    )
                if action == "stop":
                    with anyio.move_on_after(1):
                        await model.streaming.wait()
                    await chatd.api.interrupt(chat["id"])
                model.hangs = False
                await settled(chatd, chat["id"])
    await model.aclose()
    assert model.breaches == []
    assert model.checked >= CHATS * len(PROVIDERS)
