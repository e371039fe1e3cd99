"""Clients of the AI SDK under Node, and the model that they talk to."""

import asyncio
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from typing import Any

import anyio

from chatd.domain.message import text_of
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest, PartDelta
from support.eventually import TIMEOUT_SECONDS
from support.npm_packages import AI_SDK_DIR
from support.providers import (
    FunctionProvider,
    finished,
    last_user_text,
    text_delta,
    tool_call_delta,
)

PACKAGES = {"v5": "react5", "v6": "react6", "v7": "react7"}

WORDS = 'Hello "wörld" ✓\n\n🙂 <b>\\n</b>  end'
"""A text that each spelling must leave as it is."""
WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


class Gates:
    """Points at which the model waits for the test, by names that the message of the user has."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.calls: dict[str, int] = {}

    def open(self, name: str) -> None:
        self.opened.add(name)

    async def passed(self, name: str) -> None:
        while name not in self.opened:  # noqa: ASYNC110 - opened by another thread
            await anyio.sleep(0.005)

    def count(self, name: str) -> int:
        self.calls[name] = self.calls.get(name, 0) + 1
        return self.calls[name]


def ai_sdk_model(gates: Gates) -> FunctionProvider:
    """Return the model: the first word of the user's message says what it does."""

    async def respond(request: ModelRequest) -> AsyncIterator[Delta]:
        word, _, rest = last_user_text(request).partition(" ")
        results = _results(request)
        async for delta in _SCRIPTS.get(word, _say)(rest, results, gates):
            yield delta

    return FunctionProvider(respond)


def _results(request: ModelRequest) -> list[str]:
    """Return the results since the last message of the user."""
    results: list[str] = []
    for message in request.messages:
        if message.role == "user":
            results = []
        results += [json.dumps(p["result"]) for p in message.content if p["type"] == "tool-result"]
    return results


async def _say(rest: str, results: Sequence[str], gates: Gates) -> AsyncIterator[Delta]:
    yield PartDelta({"index": 0, "type": "reasoning", "text": "thin"})
    yield PartDelta({"index": 0, "type": "reasoning", "text": "king"})
    for start in range(0, len(WORDS), 5):
        yield text_delta(WORDS[start : start + 5], 1)
    yield PartDelta({"index": 2, "type": "source", "url": "https://e.x/a", "title": "A"})
    yield finished()


async def _hold(rest: str, results: Sequence[str], gates: Gates) -> AsyncIterator[Delta]:
    yield text_delta("Half ")
    await gates.passed(rest)
    yield text_delta("and ")
    yield text_delta("whole")
    yield finished()


async def _weather(rest: str, results: Sequence[str], gates: Gates) -> AsyncIterator[Delta]:
    """Call the client's tool: once, then twice at a time, then tell what it said."""
    cities = {0: ["Bern"], 1: ["Graz", "Rome"]}.get(len(results))
    if cities is None:
        yield text_delta(f"It is {' '.join(results)}.")
        yield finished()
        return
    yield text_delta("Let me look. ")
    for number, city in enumerate(cities):
        call_id = f"call_{len(results) + number}_{rest}"
        for piece in ('{"city": ', f'"{city}"}}'):
            yield tool_call_delta("weather", call_id, piece, number + 1)
    yield finished("tool_calls")


async def _pay(rest: str, results: Sequence[str], gates: Gates) -> AsyncIterator[Delta]:
    if results:
        yield text_delta(f"Paid: {results[0]}")
        yield finished()
        return
    yield tool_call_delta("pay", f"pay_{rest}", '{"amount": 7}')
    yield finished("tool_calls")


async def _fail(rest: str, results: Sequence[str], gates: Gates) -> AsyncIterator[Delta]:
    yield text_delta("Half")
    if gates.count(rest) == 1:
        raise ProviderError("The script says no.", status_code=400)
    yield text_delta(" and whole")
    yield finished()


_SCRIPTS = {"hold": _hold, "weather": _weather, "pay": _pay, "fail": _fail}


class NodeError(Exception):
    """An operation failed in the client."""


class NodeClients:
    """A Node process with chats of one version of the package, for the tests of a module."""

    def __init__(self, version: str, url: str) -> None:
        self._process = subprocess.Popen(
            ["node", "--no-warnings", "clients.mjs", PACKAGES[version], url],
            cwd=AI_SDK_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._numbers = count()
        self._answers: dict[int, Future[Any]] = {}
        self._reader = threading.Thread(target=self._read, name="answers of Node", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            future = self._answers.pop(answer["id"])
            if "error" in answer:
                future.set_exception(NodeError(answer["error"]))
            else:
                future.set_result(answer["value"])

    async def call(self, op: str, **options: Any) -> Any:
        """Have an operation done. Return its value."""
        number = next(self._numbers)
        future = self._answers[number] = Future()
        given = {key: value for key, value in options.items() if value is not None}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "op": op, **given}) + "\n")
        self._process.stdin.flush()
        with anyio.fail_after(2 * TIMEOUT_SECONDS):
            return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(TIMEOUT_SECONDS)
        self._reader.join(TIMEOUT_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class NodeChat:
    """One ``Chat`` of the package."""

    def __init__(self, clients: NodeClients, name: str) -> None:
        self._clients = clients
        self.name = name

    async def __call__(self, op: str, **options: Any) -> dict[str, Any]:
        """Have something done, and return the state of the chat after it."""
        return dict(await self._clients.call(op, client=self.name, **options) or {})

    async def check_chunks(self) -> None:
        """Check each chunk that came with the schema of the package."""
        assert await self._clients.call("check", client=self.name) == []


@contextmanager
def node_clients(version: str, url: str) -> Iterator[NodeClients]:
    """Run a Node process with chats of one version."""
    clients = NodeClients(version, url)
    try:
        yield clients
    finally:
        clients.stop()


def plain(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without what a stream adds to its parts, to compare them with a hydrated list."""
    return [
        {
            "id": message["id"],
            "role": message["role"],
            "parts": [_plain_part(part) for part in message["parts"]],
        }
        for message in messages
    ]


_ADDED = frozenset({"id", "providerExecuted", "rawInput", "approval"})


def _plain_part(part: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in part.items() if key not in _ADDED and value is not None}
    return {**kept, "state": "done"} if part["type"] == "text" else kept


def shown_text(message: Mapping[str, Any]) -> str:
    """Return the text that a page shows of a message."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def stored_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the stored messages of the last answer."""
    last = max(n for n, message in enumerate(messages) if message["role"] == "user")
    return "".join(text_of(message["content"]) for message in messages[last + 1 :])
