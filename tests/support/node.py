"""Node, and the folder of the TypeScript client."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CLIENT_DIR = Path(__file__).parents[2] / "clients" / "typescript"


def run(*command: str, folder: Path = CLIENT_DIR, timeout_seconds: float = 120) -> str:
    """Run a command that must succeed. Return its output."""
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@asynccontextmanager
async def node_process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a script under Node. Kill it if it still runs at the end."""
    process = await asyncio.create_subprocess_exec(
        "node", *command, stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
