"""A whole daemon in the process of the bench, for measures that need to see inside."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import anyio
import anyio.lowlevel

from chatd.bench.replica import UNLIMITED
from chatd.daemon import Daemon
from chatd.domain.chat import Usage
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.provider import Delta, Finished, ModelRequest, PartDelta, Provider
from chatd.settings import Settings


@asynccontextmanager
async def inside(dsn: str, provider: Provider) -> AsyncIterator[tuple[Daemon, str]]:
    """A daemon with the shipped settings and one model, and its URL; stopped with the block."""
    settings = Settings.model_validate(
        {"database": {"url": dsn}, "http": {"port": 0}, "limits": UNLIMITED}
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


class Clockwork:
    """A model that says ``parts`` parts, one every ``gap_seconds``; each says when it was made.

    ``record_call`` holds the moment of each call, on the machine's monotonic clock.
    """

    name = "clockwork"

    def __init__(self, *, parts: int, gap_seconds: float) -> None:
        self._parts = parts
        self._gap_seconds = gap_seconds
        self.called: list[float] = []

    async def warm(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()

    def stream(self, _request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        self.called.append(time.monotonic())
        return aclosing(self._play())

    async def _play(self) -> AsyncGenerator[Delta]:
        for _ in range(self._parts):
            if self._gap_seconds:
                await anyio.sleep(self._gap_seconds)
            part = {"index": 0, "type": "text", "text": f"{time.monotonic_ns()} "}
            yield PartDelta(part)
        yield Finished("stop", Usage())
