"""Process: a program in a process group of its own, and its end with all that it started."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.abc import AsyncResource, Process

EXIT_SECONDS: Final = 1.0
"""Time to end by itself after the end of its input, and again after SIGTERM. Then comes SIGKILL."""
_KILL_SECONDS: Final = 2.0
"""Time for the kernel to end a killed process. Only one in uninterruptible sleep takes longer."""
_CLOSE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.01
_INHERITED_VARIABLES: Final = ("PATH", "HOME", "LANG")


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program: ``own``, and what every program needs of this process."""
    inherited = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    return {**inherited, **own}


@asynccontextmanager
async def process_group(
    command: Sequence[str], *, env: Mapping[str, str]
) -> AsyncIterator[Process]:
    """Run a program with pipes. On leaving, nothing of its process group is left, within five seconds."""
    process = await anyio.open_process(
        command,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    """End the group: by the end of its input, SIGTERM and SIGKILL in turn."""
    await _close(process.stdin)
    await _group_ended(process, EXIT_SECONDS)
    for number, seconds in ((signal.SIGTERM, EXIT_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        if await _group_ended(process):
            break
        _signal_group(process.pid, number)
        await _group_ended(process, seconds)
    await _close(process.stdout)
    await _close(process.stderr)
    _close_transport(process)


async def exited(process: Process, *, seconds: float) -> bool:
    """Wait for the program to end. ``Process.wait`` would also wait for all who hold its pipes."""
    with anyio.move_on_after(seconds):
        while process.returncode is None:  # noqa: ASYNC110 - asyncio tells nobody else
            await anyio.sleep(_POLL_SECONDS)
    return process.returncode is not None


async def _group_ended(process: Process, seconds: float = 0.0) -> bool:
    """Wait for the program, and whatever it started in its group, to end."""
    with anyio.move_on_after(seconds):
        while process.returncode is None or _group_exists(process.pid):  # noqa: ASYNC110
            await anyio.sleep(_POLL_SECONDS)
        return True
    return process.returncode is not None and not _group_exists(process.pid)


async def _close(pipe: AsyncResource | None) -> None:
    """Close a pipe. What it still holds is not waited for longer than a moment."""
    if pipe is not None:
        with anyio.move_on_after(_CLOSE_SECONDS):
            with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await pipe.aclose()


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it became another account
        return True
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _close_transport(process: Process) -> None:
    """Close asyncio's pipes, which stay open while another process holds their other end."""
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    close = getattr(transport, "close", None)
    if callable(close):
        with suppress(PermissionError, ProcessLookupError):
            close()
