"""Cost of sending files to a provider: neither memory nor the event loop feels how large they are."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import httpx2
import pytest
from support.captured_requests import CONNECTORS, rules_of
from support.provider_cases import MODELS, message, text_part

from chatd.domain.files import FileSpan, new_file
from chatd.domain.message import Role
from chatd.llm.failures.classify import classify
from chatd.llm.provider import ModelRequest
from chatd.llm.vendors.client import MAX_TEXT_LENGTH, ProviderClient, ProviderEndpoint
from chatd.llm.vendors.wire.http import NormalizerFactory, NormalizingClient

IMAGES = 30
IMAGE_BYTES = 2_200_000
MOST_MEMORY = 16 * 1024 * 1024
MOST_BLOCKED_SECONDS = 0.1
KINDS = ("openai", "anthropic", "openai-compatible")


class CountingTransport(httpx2.AsyncBaseTransport):
    """Transport that reads a request as a server would: piece by piece, keeping nothing."""

    def __init__(self) -> None:
        self.length = 0
        self.declared = -1
        self.largest = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.declared = int(request.headers["content-length"])
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        async for piece in request.stream:
            self.length += len(piece)
            self.largest = max(self.largest, len(piece))
            await asyncio.sleep(0)
        return httpx2.Response(400, json={"error": {"message": "captured", "type": "invalid"}})


@asynccontextmanager
async def client(kind: str, transport: CountingTransport) -> AsyncIterator[ProviderClient]:
    class Endpoint(ProviderEndpoint):
        def http_client(self, normalizer: NormalizerFactory) -> NormalizingClient:
            return NormalizingClient(normalizer=normalizer, transport=transport)

    connected = CONNECTORS[kind](
        Endpoint(
            name="acme",
            rules=rules_of(kind),
            base_url="http://provider.test/v1",
            api_key="k",
            headers={},
            connect_seconds=1,
        )
    )
    try:
        yield connected
    finally:
        await connected.aclose()


async def call(connected: ProviderClient, request: ModelRequest) -> Exception:
    """Make a call, and return what it raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the test looks at it
        async with connected.call(request):
            pass
    return caught.value


class LoopMonitor:
    """Monitor of the longest CPU time that the loop's thread spends without another callback."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)


@pytest.mark.parametrize("kind", KINDS)
async def test_thirty_images_cost_no_more_than_one(kind: str) -> None:
    """Their bodies were made in memory: 530 MB a step, and a loop that was blocked for 1.2 s."""
    data = b"\x89PNG\r\n\x1a\n" + bytes(IMAGE_BYTES - 8)
    images = [{**new_file(data, media_type="image/png").reference()} for _ in range(IMAGES)]
    for number, image in enumerate(images):
        image["file_id"] = str(UUID(int=number))

    async def read(spans: Sequence[FileSpan]) -> Sequence[bytes]:
        return [data[span.offset : span.offset + span.length] for span in spans]

    history = tuple(message(n, Role.USER, image) for n, image in enumerate(images))
    request = ModelRequest(model=MODELS.get(kind, "fake"), messages=history, read_files=read)
    transport, monitor = CountingTransport(), LoopMonitor()
    async with client(kind, transport) as connected:
        await call(connected, ModelRequest(model="fake", messages=history[:1], read_files=read))
        transport.length = transport.largest = 0
        watching = asyncio.create_task(monitor.run())
        await asyncio.sleep(0)
        tracemalloc.start()
        try:
            await call(connected, request)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            watching.cancel()
    assert transport.length == transport.declared > IMAGES * IMAGE_BYTES * 4 / 3
    assert transport.largest < 1_000_000
    assert peak < MOST_MEMORY
    assert monitor.longest < MOST_BLOCKED_SECONDS


@pytest.mark.parametrize("kind", KINDS)
async def test_text_that_no_model_takes_is_not_sent(kind: str) -> None:
    texts = [text_part("x" * (MAX_TEXT_LENGTH // 4)) for _ in range(5)]
    transport = CountingTransport()
    request = ModelRequest(
        model="fake", messages=tuple(message(n, Role.USER, text) for n, text in enumerate(texts))
    )
    async with client(kind, transport) as connected:
        failure = classify(await call(connected, request), provider="acme", model="m")
    assert failure is not None
    assert failure.kind == "context_limit"
    assert transport.declared == -1
