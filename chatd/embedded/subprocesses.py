"""Child processes that end with chatd, and generators that wait for them with or without an event loop.

The kernel ties a child to the *thread* that forked it (see ``parent_death_signal``), so the main thread
must start it, and a worker thread cannot wait for the slow parts. Each of them is a generator of *steps*
instead, which yields whenever it has to wait a moment. ``run_steps`` drives it with sleeps (in a test
fixture without an event loop), ``run_steps_async`` drives it on the loop. The logic exists once and needs
no threads.

Each child leads a session of its own, so that Ctrl-C at the terminal reaches only chatd, which then stops
its children in order.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio

from chatd.domain.errors import ChatdError

T = TypeVar("T")
Steps = Generator[None, None, T]

_POLL_INTERVAL_SECONDS = 0.01
_DEATH_SIGNAL_PROGRAM = Path(__file__).with_name("parent_death_signal.py")


class EmbeddedError(ChatdError):
    """The embedded database or model cannot run."""


class Account(NamedTuple):
    """An account of this host to run a child as."""

    name: str
    uid: int
    gid: int


def run_steps(steps: Steps[T]) -> T:
    """Run the steps to their end and block this thread."""
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            time.sleep(_POLL_INTERVAL_SECONDS)


async def run_steps_async(steps: Steps[T]) -> T:
    """Run the steps to their end on the event loop. When cancelled, they clean up."""
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            await anyio.sleep(_POLL_INTERVAL_SECONDS)


def spawn(
    program: Sequence[str | Path],
    *,
    folder: Path,
    log: Path,
    death_signal: signal.Signals,
    lock_fd: int,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that gets the signal ``death_signal`` when this process ends, however it ends.

    The child works in ``folder``, writes to ``log`` and runs as ``account`` (None: the one of this
    process). It and all its descendants hold ``lock_fd`` open, so the lock is free when the last of them
    has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError(
            "start it from the main thread: the child ends when the thread that started it ends"
        )
    identity = f"{account.uid}:{account.gid}" if account else ""
    wrapper = [
        sys.executable,
        "-I",
        "-S",
        str(_DEATH_SIGNAL_PROGRAM),
        str(os.getpid()),
        str(int(death_signal)),
    ]
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - an argument list of this module, no shell
            [*wrapper, identity, *program],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environment,
            pass_fds=(lock_fd,),
            start_new_session=True,
        )
    finally:
        os.close(output)


def terminating(
    process: subprocess.Popen[bytes], *signals: tuple[signal.Signals, float]
) -> Steps[None]:
    """Send each signal in turn and wait up to its seconds for the child to end. Then kill it."""
    try:
        for number, timeout_seconds in signals:
            process.send_signal(number)
            deadline = time.monotonic() + timeout_seconds
            while process.poll() is None and time.monotonic() < deadline:
                yield
    finally:
        process.kill()  # does nothing to a child that has ended
        process.wait()


def last_lines(log: Path, count: int = 15) -> str:
    """Return the end of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError as error:
        return f"({error})"
