"""Children whose failures a test chooses, and a supervisor that runs them without jitter."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from chatd.supervision.child import ChildHandle, ChildSpec
from chatd.supervision.supervisor import Supervisor

Start = Callable[[ChildHandle], Awaitable[None]]


async def serve(child: ChildHandle) -> None:
    child.ready()
    await child.stopping.wait()


def fails(*, after: float = 1.0, times: int | None = None, ready: bool = True) -> Start:
    """Return a child that raises ``after`` seconds, at most ``times`` times, and then serves."""
    runs = 0

    async def start(child: ChildHandle) -> None:
        nonlocal runs
        runs += 1
        if ready:
            child.ready()
        if times is None or runs <= times:
            await anyio.sleep(after)
            raise ValueError(f"run {runs}")
        await serve(child)

    return start


def supervisor(*children: ChildSpec, **options: Any) -> Supervisor:
    return Supervisor(children, random=lambda: 0.0, **options)


@asynccontextmanager
async def running(tree: Supervisor) -> AsyncIterator[None]:
    """Run the tree around the body, and stop it at the end."""
    async with anyio.create_task_group() as group:
        group.start_soon(tree.run)
        yield
        tree.stop()


def events(logs: list[Any]) -> list[str]:
    return [entry["event"].removeprefix("supervisor.") for entry in logs]
