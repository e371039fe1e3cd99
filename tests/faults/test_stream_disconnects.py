"""Streams end with their connections, whatever else the client sent on them."""

import asyncio

import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import running_daemon

PROBE = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.mark.parametrize("more", [b"", PROBE, PROBE * 2], ids=["alone", "one more", "two more"])
async def test_stream_ends_with_its_connection(dsn: str, more: bytes) -> None:
    """A request that was sent ahead waits for the stream, and must not hide the end of the connection."""
    async with running_daemon(
        dsn, worker={"enabled": False}, http={"port": 0, "sse_keepalive_seconds": 0.1}
    ) as chatd:
        chat_id = (await chatd.api.create())["id"]
        hub = chatd.daemon.services.hub
        reader, writer = await asyncio.open_connection("127.0.0.1", chatd.daemon.port)
        head = f"GET /api/v1/chats/{chat_id}/stream HTTP/1.1\r\nhost: localhost\r\n\r\n"
        writer.write(head.encode() + more)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await reader.readuntil(b"event: snapshot")
        assert hub.subscriber_count == 1
        writer.transport.abort()
        await eventually(lambda: hub.subscriber_count == 0)
