"""Tools that put out without end: what is read, kept and stored has a bound, and the daemon goes on."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.client_tools import calling_provider, results_in
from support.eventually import eventually
from support.in_process import fetch_rows, running_daemon
from support.providers import tool_call_delta
from support.tool_endpoint import ToolEndpoint, tools

from chatd.domain.tool_call_errors import CANCELLED
from chatd.store.database import Database

MIB = 2**20
CHUNK = (b"\xff\x00" + b"x" * 65_534) * 4


@asynccontextmanager
async def endless_endpoint(
    media_type: str, *, pause_seconds: float = 0.0
) -> AsyncIterator[tuple[ToolEndpoint, list[int]]]:
    """Run an endpoint whose responses never end, and count the bytes that it was let to write."""
    written = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\n\r\n".encode())
        try:
            while True:
                writer.write(CHUNK)
                written[0] += len(CHUNK)
                await writer.drain()
                await asyncio.sleep(pause_seconds)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield ToolEndpoint(url=f"http://127.0.0.1:{port}"), written
    finally:
        server.close()


def peak_bytes() -> int:
    """Return the most memory that this process has had since it was reset."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def begin_peak() -> int:
    """Reset that peak to what there is now, and return it."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


@pytest.mark.parametrize("media_type", ["application/json", "text/plain"])
async def test_endpoint_that_never_ends_is_read_up_to_a_bound(
    media_type: str, dsn: str, database: Database
) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1")])
    async with (
        endless_endpoint(media_type) as (endpoint, written),
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        before = begin_peak()
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert peak_bytes() - before < 32 * MIB
        assert 64 * MIB <= written[0] < 80 * MIB, "then the connection is closed"
        [(_, shown, _)] = results_in(provider.requests[1])
        assert len(shown.encode()) <= 64 * 1024 * 1.1
        assert "bytes are missing here: read_tool_result reads the first 1048576 bytes" in shown
        [row] = await fetch_rows(
            database, "SELECT length(body) AS kept, total_bytes FROM chat_tool_outputs"
        )
        assert (row["kept"] <= MIB, row["total_bytes"] > 64 * MIB) == (True, True)
        assert not await fetch_rows(database, "SELECT FROM chat_parts")


async def test_interrupt_is_answered_while_an_endpoint_sends_without_end(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1")])
    async with (
        endless_endpoint("text/plain", pause_seconds=0.02) as (endpoint, written),
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await eventually(lambda: written[0] >= 4 * MIB)
        began = time.monotonic()
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert time.monotonic() - began < 1.0
        [result] = (await chatd.api.messages(chat["id"]))[-1]["content"]
        assert result["result"].startswith(CANCELLED["other"])
    assert written[0] < 32 * MIB, "it is no longer read"
