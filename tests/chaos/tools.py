"""The tool server of a run, seen from the process that runs it: killed, stopped, slow; and its log."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chaos.model import free_port
from chaos.records import Effect

TIMEOUT_SECONDS = 4.0
"""``tools.timeout_seconds`` of the replicas."""
TESTS = Path(__file__).parents[1]
_STOP_SECONDS = 5.0


class Tools:
    """A tool server in a process of its own, which is started again when it was killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.port = free_port()
        self._log = folder / "effects.jsonl"
        self._seed = seed
        self._changes = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the process, and wait until it listens."""
        self._seed += 1
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "chaos.tool_process", str(self._seed), str(self.port), str(self._log)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline()) == {"listening": True}

    async def kill(self, seconds: float) -> None:
        """Kill the process, and start it again after ``seconds``."""
        async with self._changes:
            assert self._process is not None
            self._process.kill()
            await self._process.wait()
            await asyncio.sleep(seconds)
            await self.start()

    async def pause(self, seconds: float) -> None:
        """Stop the process for ``seconds``."""
        async with self._changes:
            assert self._process is not None
            self._process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            self._process.send_signal(signal.SIGCONT)

    def program_args(self, replica: str) -> list[str]:
        """Return the arguments with which a replica runs Python as its MCP server."""
        return ["-m", "chaos.mcp_program", str(self._log), replica, str(self._seed)]

    def signal_program(self, replica: str, number: signal.Signals) -> bool:
        """Send a signal to the MCP server of a replica. Return False if none runs."""
        try:
            pid = int(Path(f"{self._log}.{replica}.pid").read_text())
            if str(self._log) not in Path(f"/proc/{pid}/cmdline").read_text():
                return False
            os.kill(pid, number)
        except (OSError, ValueError):
            return False
        return True

    async def delay(self, seconds: float, calls: int) -> None:
        """Have coming calls take longer."""
        async with self._changes:
            assert self._process is not None
            assert self._process.stdin is not None
            order = {"delay_seconds": seconds, "calls": calls}
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()

    async def stop(self) -> None:
        """Stop the process. Calls that still run are logged as cancelled."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def effects(self) -> list[Effect]:
        """Return the effects in the log, in their order."""
        found: dict[str, Effect] = {}
        for line in self._log.read_text().splitlines() if self._log.exists() else ():
            fields = json.loads(line)
            if "began" in fields:
                found[fields["number"]] = Effect(**fields)
            else:
                effect = found[fields["number"]]
                effect.ended, effect.closed = fields["ended"], fields["closed"]
                effect.end, effect.text = fields["end"], fields["text"]
        return list(found.values())


@asynccontextmanager
async def tool_process(folder: Path, seed: int) -> AsyncIterator[Tools]:
    """Run a tool server in a process of its own."""
    tools = Tools(folder, seed)
    await tools.start()
    try:
        yield tools
    finally:
        await tools.stop()
