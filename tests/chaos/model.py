"""The model server of a run, seen from the process that runs it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Any

from chaos.records import ModelCall

_TESTS = Path(__file__).parents[1]
_MAX_LINE_BYTES = 1 << 20


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Model:
    """A model server in a process of its own, and the calls that it reported."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}/v1"
        self.calls: list[ModelCall] = []

    async def order(self, **order: Any) -> None:
        """Order a fault for coming calls, or a closed port."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()

    async def read_reports(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            report = json.loads(line)
            if "number" in report:
                self.calls.append(ModelCall(**report))


@asynccontextmanager
async def model_process(seed: int) -> AsyncIterator[Model]:
    """Run a model server in a process of its own."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chaos.model_process",
        str(seed),
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_MAX_LINE_BYTES,
        cwd=_TESTS,
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
    )
    model = Model(process, port)
    assert process.stdout is not None
    assert process.stdin is not None
    assert json.loads(await process.stdout.readline()) == {"listening": True}
    reading = asyncio.create_task(model.read_reports())
    try:
        yield model
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        with suppress(asyncio.CancelledError):
            await reading
