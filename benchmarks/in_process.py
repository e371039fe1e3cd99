"""A whole daemon in the benchmark's process, for measures that need data from inside."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import anyio
import anyio.lowlevel

from benchmarks.replica import NO_LIMITS
from chatd.daemon import Daemon
from chatd.domain.chat import Usage
from chatd.domain.message import Part
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.provider import Delta, Finished, ModelRequest, PartDelta, Provider
from chatd.settings import Settings


@asynccontextmanager
async def in_process_daemon(dsn: str, provider: Provider) -> AsyncIterator[tuple[Daemon, str]]:
    """Run a daemon with the default settings and one model; yield it and its URL."""
    settings = Settings.model_validate(
        {"database": {"url": dsn}, "http": {"port": 0}, "limits": NO_LIMITS}
    )
    model = ModelConfig(name="bench", provider=provider.name, model="bench")
    catalog = Catalog(models=[model], providers={provider.name: provider})
    daemon = Daemon(settings, catalog=catalog, handle_signals=False)
    async with anyio.create_task_group() as group:
        group.start_soon(daemon.run)
        await daemon.supervisor.ready.wait()
        try:
            yield daemon, f"http://127.0.0.1:{daemon.server.port}"
        finally:
            daemon.stop()


class PacedProvider:
    """A model that streams ``parts`` parts, one every ``interval_seconds``; each holds its creation time.

    ``called_at`` holds the time of each call, on the machine's monotonic clock.
    """

    name = "paced"

    def __init__(self, *, parts: int, interval_seconds: float) -> None:
        self._parts = parts
        self._interval_seconds = interval_seconds
        self.called_at: list[float] = []

    async def warm(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()

    def file_refusal(self, part: Part) -> None:
        """Return None: it takes every file."""

    def stream(self, _request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        self.called_at.append(time.monotonic())
        return aclosing(self._stream_parts())

    async def _stream_parts(self) -> AsyncGenerator[Delta]:
        for _ in range(self._parts):
            if self._interval_seconds:
                await anyio.sleep(self._interval_seconds)
            part = {"index": 0, "type": "text", "text": f"{time.monotonic_ns()} "}
            yield PartDelta(part)
        yield Finished("stop", Usage())
