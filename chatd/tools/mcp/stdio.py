"""Transport for a program: one JSON message per line, over its standard input and output.

The SDK has one too, but it keeps a line of any length, logs each line that is not MCP, and gives the
program further variables of this process. Imports the SDK: see ``connection``.
"""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, ObjectReceiveStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from chatd.tools.mcp.config import MAX_MESSAGE_BYTES, StdioEndpoint
from chatd.tools.mcp.intake import Intake, IntakeRefused
from chatd.tools.mcp.link import MAX_ERROR_OUTPUT_BYTES, Link
from chatd.tools.mcp.process import child_environment, exited, process_group

MAX_FOREIGN_LINES: Final = 100
"""Lines that are not MCP. Many programs greet on standard output."""
_READ_BYTES: Final = 64 * 1024
_STREAM_ENDED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)

Received = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[Received], MemoryObjectSendStream[SessionMessage]]


@asynccontextmanager
async def stdio_transport(endpoint: StdioEndpoint, link: Link) -> AsyncIterator[Streams]:
    """Run the program of an endpoint, and yield the streams that the SDK reads and writes.

    Raises ``OSError`` if it cannot be run.
    """
    command, env = [endpoint.command, *endpoint.args], child_environment(endpoint.env)
    async with process_group(command, env=env) as process:
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None and stdout is not None and stderr is not None  # noqa: PT018, S101 - pipes
        received, incoming = anyio.create_memory_object_stream[Received](0)
        outgoing, sent = anyio.create_memory_object_stream[SessionMessage](0)
        async with incoming, outgoing, anyio.create_task_group() as group:
            group.start_soon(_receive, process, stdout, received, link)
            group.start_soon(_send, stdin, sent)
            group.start_soon(_keep_errors, stderr, link)
            try:
                yield incoming, outgoing
            finally:
                group.cancel_scope.cancel()


async def _receive(
    process: Process,
    output: ByteReceiveStream,
    received: MemoryObjectSendStream[Received],
    link: Link,
) -> None:
    """Pass on the messages of the program until its output ends, or cannot be taken."""
    foreign_lines = 0
    async with received:
        try:
            lines = LineBuffer()
            while True:
                chunk = await output.receive(_READ_BYTES)
                await link.intake.add_bytes(len(chunk))
                for line in lines.split(chunk):
                    await link.intake.add_message()
                    message = _parsed(line)
                    if message is not None:
                        await received.send(message)
                        continue
                    foreign_lines += 1
                    if foreign_lines > MAX_FOREIGN_LINES:
                        link.end("what it writes is not MCP")
                        return
        except IntakeRefused as error:
            link.end(str(error))
        except _STREAM_ENDED:
            await exited(process, seconds=1.0)
            link.end(_end_in_words(process.returncode))


def _parsed(line: bytes) -> SessionMessage | None:
    """Return the message of a line. What is no UTF-8 in it is replaced. None: it is no message."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        text = line.decode(errors="replace")
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
    except ValueError:
        return None


class LineBuffer:
    """Buffer of bytes that yields whole lines, of a bounded size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def split(self, chunk: bytes) -> Iterator[bytes]:
        """Take further bytes, and yield the lines that are complete. Raise ``IntakeRefused``."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._add(end)
            yield bytes(self._buffer)
            self._buffer.clear()
        self._add(rest)

    def _add(self, data: bytes) -> None:
        if len(self._buffer) + len(data) > MAX_MESSAGE_BYTES:
            size = MAX_MESSAGE_BYTES // 2**20
            raise IntakeRefused(f"it sent a message of more than {size} MiB")
        self._buffer += data


async def _send(program: ByteSendStream, sent: ObjectReceiveStream[SessionMessage]) -> None:
    """Write the messages of the SDK to the program until it no longer reads."""
    async with sent:
        try:
            async for item in sent:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                await program.send(text.encode() + b"\n")
        except _STREAM_ENDED:
            return  # the program ended, which its output tells


async def _keep_errors(errors: ByteReceiveStream, link: Link) -> None:
    """Read standard error, so that the program never waits for it, and keep its end."""
    intake = Intake()
    try:
        while True:
            chunk = await errors.receive(_READ_BYTES)
            await intake.add_bytes(len(chunk))
            link.error_output = (link.error_output + chunk)[-MAX_ERROR_OUTPUT_BYTES:]
    except _STREAM_ENDED:
        return


def _end_in_words(code: int | None) -> str:
    if code is None:
        return "its program closed its output"
    if code >= 0:
        return f"its program ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its program was ended by {name}"
