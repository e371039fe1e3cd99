"""Real ``chatd run`` processes, each with a configuration of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import httpx2

from support.eventually import TIMEOUT_SECONDS, eventually
from support.forked_chatd import PipedChatd
from support.http import NO_TLS
from support.log_event_coverage import record_event

SCRIPTS = """
[providers.fake]
kind = "scripted"

[[providers.fake.script]]
text = "You said: {message}"
chunks = 4

[[providers.fake.scripts.slow]]
text = "One word after the other the answer comes, slowly, so that one can cut it. "
repeat = 3
chunks = 40
delay_seconds = 0.1

[[providers.fake.scripts.hang]]
text = "I begin and "
[[providers.fake.scripts.hang]]
hang = true

[[providers.fake.scripts.panic]]
text = "Something is "
[[providers.fake.scripts.panic]]
panic = "wires crossed"

[models.fake]
provider = "fake"
model = "fake-1"
"""


HANGING_SCRIPTS = SCRIPTS.replace(
    "repeat = 3\nchunks = 40\ndelay_seconds = 0.1\n",
    "chunks = 10\n[[providers.fake.scripts.slow]]\nhang = true\n",
)
"""Scripts whose slow answer hangs in the middle, so that another process has to finish it."""


class ChatdProcess:
    """One process of ``chatd run``. Its log lines are read as they come."""

    def __init__(
        self,
        folder: Path,
        dsn: str,
        name: str,
        settings: str,
        scripts: str,
        port: int,
        environment: Mapping[str, str] = MappingProxyType({}),
        through: Sequence[str] = (),
        **how: Any,
    ) -> None:
        self.config = folder / f"{name}.toml"
        self.config.write_text(f"{settings}\n{scripts}")
        self.name = name
        self.lines: list[dict[str, Any]] = []
        self.raw_lines: list[str] = []
        self._lines_changed = threading.Condition()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CHATD_")}
        variables = {
            "CHATD_DATABASE__URL": dsn,
            "CHATD_HTTP__PORT": str(port),
            "CHATD_LOG__FORMAT": "json",
        }
        arguments = ["run", "--config", str(self.config)]
        if through or how:
            self.process: subprocess.Popen[str] | PipedChatd = subprocess.Popen(
                [*through, sys.executable, "-m", "chatd", *arguments],
                env=clean | variables | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                **how,
            )
        else:
            self.process = PipedChatd(arguments, clean | variables | environment)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._lines_changed:
                self.raw_lines.append(line)
                try:
                    self.lines.append(json.loads(line))
                    record_event(self.lines[-1].get("event"))
                except ValueError:
                    self.lines.append({"event": "?", "text": line})
                self._lines_changed.notify_all()

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines of this event with these fields, so far."""
        return [
            line
            for line in list(self.lines)
            if line.get("event") == event and fields.items() <= line.items()
        ]

    async def wait_for_log(
        self, event: str, timeout_seconds: float = TIMEOUT_SECONDS, **fields: Any
    ) -> dict[str, Any]:
        """Wait for a log line."""

        def found() -> Any:
            lines = self.logged(event, **fields)
            if not lines and self.process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(
                    f"{self.name} ended without {event}:\n{''.join(self.raw_lines)}"
                )
            return lines[0] if lines else None

        return await eventually(
            found, timeout_seconds, describe=lambda: f"{event} in:\n{''.join(self.raw_lines[-50:])}"
        )

    @property
    def worker_id(self) -> UUID:
        """Id of the worker of this process."""
        return UUID(self.logged("daemon.starting")[0]["worker_id"])

    async def wait_for_address(self) -> None:
        """Wait until it listens, and set ``port`` and ``url``. It need not be ready."""
        listening = await self.wait_for_log("http.listening")
        self.port = int(listening["port"])
        self.url = f"http://{listening['host']}:{self.port}"

    async def wait_until_ready(self) -> None:
        await self.wait_for_address()
        async with httpx2.AsyncClient(base_url=self.url, verify=NO_TLS) as client:

            async def answers() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await eventually(answers, interval_seconds=0.05)

    def send_signal(self, signal_number: signal.Signals) -> None:
        self.process.send_signal(signal_number)

    async def wait_for_exit(self, timeout_seconds: float = TIMEOUT_SECONDS) -> int:
        """Wait for the process to end. Return its exit code."""
        await eventually(lambda: self.process.poll() is not None, timeout_seconds)
        self._reader.join(5)
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def chatd_process(
    folder: Path,
    dsn: str,
    *,
    name: str = "a",
    settings: str = "",
    scripts: str = SCRIPTS,
    port: int = 0,
    **how: Any,
) -> Iterator[ChatdProcess]:
    """Start a process, and kill it at the end if it still runs. Await ``wait_until_ready()`` first.

    It is forked, unless ``how`` gives a command to start it ``through``, or what Popen takes. ``how`` may
    also give an ``environment``.
    """
    chatd = ChatdProcess(folder, dsn, name, settings, scripts, port, **how)
    try:
        yield chatd
    finally:
        chatd.kill()


@asynccontextmanager
async def replicas(
    folder: Path,
    dsn: str | dict[str, str],
    *names: str,
    settings: str = "",
    scripts: str = SCRIPTS,
    **how: Any,
) -> AsyncIterator[list[ChatdProcess]]:
    """Run several processes, and yield them when all are ready. ``dsn`` may map names to DSNs."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                chatd_process(
                    folder,
                    dsn if isinstance(dsn, str) else dsn[name],
                    name=name,
                    settings=settings,
                    scripts=scripts,
                    **how,
                )
            )
            for name in names
        ]
        for process in processes:
            await process.wait_until_ready()
        yield processes
