"""OpenAI's own clients, pointed at a daemon, and what they were answered, checked by their types."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from support.eventually import TIMEOUT_SECONDS
from support.in_process import InProcessDaemon


def openai_options(chatd: InProcessDaemon) -> dict[str, str]:
    """Return what a user configures: a base URL and a key."""
    http = chatd.api.http
    token = http.headers.get("authorization", "Bearer none").removeprefix("Bearer ")
    return {"base_url": str(http.base_url).rstrip("/") + "/v1", "api_key": token}


@asynccontextmanager
async def openai_client(chatd: InProcessDaemon, **more: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """Yield OpenAI's client for Python."""
    defaults: dict[str, Any] = {"max_retries": 0, "timeout": TIMEOUT_SECONDS}
    async with openai.AsyncOpenAI(**{**defaults, **openai_options(chatd), **more}) as client:
        yield client


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def complete(chatd: InProcessDaemon, *messages: Any, **body: Any) -> ChatCompletion:
    """Return a whole answer, checked by the client's types."""
    headers = body.pop("headers", None)
    answer = await chatd.api.http.post(
        "/v1/chat/completions", json={"model": "one", "messages": messages, **body}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return ChatCompletion.model_validate(answer.json(), strict=True)


async def stream_chunks(
    chatd: InProcessDaemon, *messages: Any, **body: Any
) -> list[ChatCompletionChunk]:
    """Return the chunks of an answer, each checked by the client's types."""
    headers = body.pop("headers", None)
    answer = await chatd.api.http.post(
        "/v1/chat/completions",
        json={"model": "one", "messages": messages, "stream": True, **body},
        headers=headers,
    )
    assert answer.status_code == 200, answer.text
    *lines, done = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    return [ChatCompletionChunk.model_validate(json.loads(line), strict=True) for line in lines]


def streamed_text(chunks: Sequence[ChatCompletionChunk]) -> str:
    """Return the text that a client shows."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
