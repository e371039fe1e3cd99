"""A stub of OpenAI's API that counts its callers, and pauses its first response until a test proceeds."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

Delta = dict[str, Any]

TOOL_CALL_DELTAS: list[Delta] = [
    {
        "tool_calls": [
            {
                "index": 0,
                "id": "call_1",
                "type": "function",
                "function": {"name": "no_such_tool", "arguments": "{}"},
            }
        ]
    }
]
"""The rest of an answer that makes chatd call the model once more."""


class OpenAIStub:
    """Stub that counts its callers by the header ``x-replica``, and pauses in the first response."""

    def __init__(self, continuation: list[Delta] | None) -> None:
        self._continuation = continuation
        self.calls: Counter[str] = Counter()
        self.proceed = asyncio.Event()
        self.first_response_sent = asyncio.Event()
        self.url = ""

    def provider_config(self, replica: str) -> str:
        """Return the provider configuration of one replica."""
        return f"""
            [providers.talker]
            kind = "openai-compatible"
            base_url = "{self.url}/v1"
            headers = {{ x-replica = "{replica}" }}
            [models.talker]
            provider = "talker"
            model = "talk-1"
        """

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await self._answer(reader, writer)
        writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in head if line)
        await reader.readexactly(int(headers["content-length"]))
        first = not self.calls
        self.calls[headers["x-replica"]] += 1
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        _write_delta(writer, {"role": "assistant", "content": "Let me "})
        await writer.drain()
        if first:
            await self.proceed.wait()
        if first and self._continuation is None:
            raise ConnectionResetError  # the answer is cut off
        rest = self._continuation if first and self._continuation else [{"content": "see."}]
        for delta in rest:
            _write_delta(writer, delta)
        _write_delta(writer, {}, finish="tool_calls" if rest is TOOL_CALL_DELTAS else "stop")
        _write_chunk(writer, b"data: [DONE]\n\n")
        _write_chunk(writer, b"")
        await writer.drain()
        if first:
            self.first_response_sent.set()


def _write_delta(writer: asyncio.StreamWriter, delta: Delta, *, finish: str | None = None) -> None:
    chunk = {
        "id": "answer",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "talk-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    _write_chunk(writer, b"data: %s\n\n" % json.dumps(chunk).encode())


def _write_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


@asynccontextmanager
async def openai_stub(continuation: list[Delta] | None) -> AsyncIterator[OpenAIStub]:
    """Start a stub. ``continuation`` is the rest of the first answer, None cuts it off."""
    stub = OpenAIStub(continuation)
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(stub.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        try:
            yield stub
        finally:
            for task in tuple(serving):
                task.cancel()
            if serving:
                await asyncio.wait(serving)
