"""Clients of adapters for the load generator: the answer to a POST is the stream of the turn."""

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

from benchmarks.http1 import HttpConnection, connect

_TURNS_PER_CHAT: Final = 10
_END_OF_ANSWER: Final = re.compile(rb"\r\n0\r\n\r\n")
_FIRST_PART: Final = re.compile(rb"text-delta|\"content\":")


class AdapterClient:
    """A client that sends a message for each turn, and begins a new chat at each tenth."""

    def __init__(self, url: str, dialect: str, question: str) -> None:
        self._url = url
        self._request = _REQUESTS[dialect]
        self._question = question
        self._turns = 0
        self._chat = ""
        self._connection: HttpConnection | None = None

    async def run_turn(self) -> float:
        """Run a turn, and return when its first part arrived."""
        if self._connection is None:
            self._connection = await connect(self._url)
        if self._turns % _TURNS_PER_CHAT == 0:
            self._chat = str(uuid4())
        self._turns += 1
        path, body = self._request(self._chat, f"u{self._turns}", self._question)
        self._connection.request_post(path, json.dumps(body).encode())
        await self._connection.wait_for(_FIRST_PART)
        first = time.monotonic()
        await self._connection.wait_for(_END_OF_ANSWER)
        self._connection.buffer.clear()
        return first

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _ai_sdk(chat: str, message: str, question: str) -> tuple[str, Mapping[str, Any]]:
    parts = [{"type": "text", "text": question}]
    body = {
        "id": chat,
        "trigger": "submit-message",
        "messages": [{"id": message, "role": "user", "parts": parts}],
    }
    return "/ai/v7/chat", body


def _completions(_chat: str, _message: str, question: str) -> tuple[str, Mapping[str, Any]]:
    messages = [{"role": "user", "content": question}]
    return "/v1/chat/completions", {"model": "bench", "stream": True, "messages": messages}


_REQUESTS: Final[Mapping[str, Callable[[str, str, str], tuple[str, Mapping[str, Any]]]]] = {
    "ai_sdk": _ai_sdk,
    "completions": _completions,
}
