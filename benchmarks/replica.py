"""Processes under test: ``chatd run``, and other servers that log where they listen."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio

from benchmarks.cpu import cpu_seconds
from benchmarks.http1 import connect
from benchmarks.load_client import environment_without_settings
from chatd.domain.errors import ChatdError

ANSWER = "Straight ahead, past the bakery, then left at the fountain and along the river."
PARTS = 20
STREAMED_PARTS = 300
SCRIPTED_MODELS = f"""
[providers.bench]
kind = "scripted"
[[providers.bench.script]]
text = "{ANSWER}"
chunks = {PARTS}
[[providers.bench.scripts.hang]]
text = "{ANSWER[:10]}"
[[providers.bench.scripts.hang]]
hang = true
[[providers.bench.scripts.parts]]
text = "{"word " * STREAMED_PARTS}"
chunks = {STREAMED_PARTS}
delay_seconds = 0.001
[[providers.bench.scripts.long]]
text = "{"word " * 500}"
[models.bench]
provider = "bench"
model = "bench"
"""
"""A model that streams ``PARTS`` parts at once.

For ``[[hang]]`` it streams one part and then nothing more, for ``[[parts]]`` ``STREAMED_PARTS`` with a
pause before each, for ``[[long]]`` 2.5 kB at once.
"""

NO_LIMITS = {"max_active_chats": 0, "max_streams": 0, "max_requests": 0, "requests_per_second": 0}
"""The section ``limits``: all requests are one owner's here."""

_START_TIMEOUT_SECONDS = 30.0
_POLL_INTERVAL_SECONDS = 0.002


class Process:
    """A process that logs JSON lines to a file, one of them with its address."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str],
        *,
        python: str | None = None,
    ) -> None:
        self._log = log
        # Python finds modules in its folder first: another one must not find those of this checkout.
        folder = None if python is None else log.parent
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [python or sys.executable, "-m", *command],
                env=env,
                stdout=out,
                stderr=out,
                cwd=folder,
            )
        self.pid = self._process.pid
        self.url = ""

    async def wait_for_event(self, event: str) -> dict[str, Any]:
        """Wait for a log line."""
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            for text in self._log.read_text("utf-8", "replace").splitlines():
                if f'"{event}"' in text:
                    found: dict[str, Any] = json.loads(text)
                    return found
            if self._process.poll() is not None:
                break
            await anyio.sleep(_POLL_INTERVAL_SECONDS)
        end = self._log.read_text("utf-8", "replace")[-1000:]
        raise ChatdError(f"A process under test did not log {event}:\n{end}")

    async def wait_until_ready(self, path: str = "/readyz") -> None:
        """Wait until it listens and /readyz answers 200."""
        listening = await self.wait_for_event("http.listening")
        self.url = f"http://{listening['host']}:{listening['port']}"
        connection = await connect(self.url)
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while (response := await connection.get(path)).status != HTTPStatus.OK:
            if time.monotonic() > deadline:
                said = response.body[:300].decode(errors="replace")
                raise ChatdError(f"A process under test did not get ready: {said}")
            await anyio.sleep(_POLL_INTERVAL_SECONDS)
        connection.close()

    @property
    def rss_megabytes(self) -> float:
        """Return the resident memory in bytes."""
        return _memory_megabytes(self.pid, "VmRSS:")

    @property
    def cpu_seconds(self) -> float:
        """Return the processor seconds used so far, system time included."""
        return cpu_seconds([self.pid])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _memory_megabytes(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(name)[1].split()[0]) / 1024


@asynccontextmanager
async def replica(folder: Path, dsn: str, **more: Any) -> AsyncIterator[Process]:
    """Run ``chatd run`` as ``start_replica`` does, and wait until it is ready."""
    process = start_replica(folder, dsn, **more)
    try:
        await process.wait_until_ready()
        yield process
    finally:
        process.kill()


def start_replica(
    folder: Path,
    dsn: str,
    *,
    settings: str = "",
    models: str = SCRIPTED_MODELS,
    limits: Mapping[str, int] = NO_LIMITS,
    python: str | None = None,
) -> Process:
    """Start ``chatd run`` with the default settings, ``limits`` and ``settings``, without waiting.

    Its log goes to a file. The installation of another ``python`` migrates its database by itself.
    """
    name = uuid4().hex[:8]
    config = folder / f"{name}.toml"
    lines = "\n".join(f"{name} = {value}" for name, value in limits.items())
    config.write_text(f"{settings}\n[limits]\n{lines}\n{models}")
    env = environment_without_settings() | {"CHATD_DATABASE__URL": dsn, "CHATD_HTTP__PORT": "0"}
    if python is not None:
        env["CHATD_DATABASE__MIGRATE_ON_START"] = "true"
    command: list[str | Path] = ["chatd", "run", "--config", config]
    return Process(command, folder / f"{name}.log", env, python=python)


@asynccontextmanager
async def baseline_process(folder: Path, dsn: str, reset: str) -> AsyncIterator[Process]:
    """Run ``baseline_app``."""
    command = ["benchmarks.baseline_app", dsn, reset]
    process = Process(command, folder / f"{uuid4().hex[:8]}.log", environment_without_settings())
    try:
        await process.wait_until_ready()
        yield process
    finally:
        process.kill()
