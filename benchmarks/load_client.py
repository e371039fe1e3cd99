"""Client of the load generator process."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from subprocess import PIPE
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from chatd.domain.errors import ChatdError

_MAX_RESPONSE_BYTES = 64 * 1024 * 1024


class LoadClient:
    """Clients: ``await load_client.run_task("turns", url=…, chats=16, seconds=1.0)``."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        self._tasks = process.stdin
        self._responses = BufferedByteReceiveStream(process.stdout)

    async def run_task(
        self, task: str, *, timeout_seconds: float = 60.0, **more: Any
    ) -> dict[str, Any]:
        """Run a task of ``load``. Raises ``ChatdError`` with the error of the process."""
        await self._tasks.send((json.dumps({"do": task} | more) + "\n").encode())
        with anyio.fail_after(timeout_seconds):
            line = await self._responses.receive_until(b"\n", _MAX_RESPONSE_BYTES)
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise ChatdError(f"The clients failed: {answer['failed']}")
        return answer


@asynccontextmanager
async def load_client() -> AsyncIterator[LoadClient]:
    """Run the load generator process."""
    command = [sys.executable, "-m", "benchmarks.load"]
    async with await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=None) as process:
        try:
            yield LoadClient(process)
        finally:
            if process.returncode is None:
                process.kill()


def environment_without_settings() -> dict[str, str]:
    """Return the environment without settings of an installed chatd."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CHATD_")}
