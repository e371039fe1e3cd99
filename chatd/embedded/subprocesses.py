"""Child processes that end with chatd, and a way to wait for them with or without an event loop.

The kernel ties a child to the *thread* that forked it (see ``tether``), so a child must be started
by the main thread, and its slow moments cannot be moved to a worker thread. Instead each of them is
a generator of *steps*: it yields whenever there is nothing to do but wait a moment. ``run_steps`` drives
it with sleeps (a test fixture without an event loop), ``run_steps_async`` drives it on the loop. One
piece of logic, two callers, no threads.

Each child leads a session of its own, so that a Ctrl-C at the terminal reaches chatd only, which
then stops its children in the right order.
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
    """Run the steps to their end, blocking this thread."""
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            time.sleep(_POLL_INTERVAL_SECONDS)


async def run_steps_async(steps: Steps[T]) -> T:
    """Run the steps to their end on the event loop; cancelling lets them clean up."""
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

    The child works in ``folder``, writes to ``log``, runs as ``account`` (None: as ourselves) and,
    with all its descendants, holds ``lock_fd`` open until the last of them is gone.
    """
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError(
            "start it from the main thread: the child ends when the thread that started it ends"
        )
    identity = f"{account.uid}:{account.gid}" if account else ""
    tether = [
        sys.executable,
        "-I",
        "-S",
        str(_DEATH_SIGNAL_PROGRAM),
        str(os.getpid()),
        str(int(death_signal)),
    ]
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - our own argument list, no shell
            [*tether, identity, *program],
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
    """Ask a child to end by each signal in turn, with its allowance in seconds; then kill it."""
    try:
        for ask, allowance_seconds in signals:
            process.send_signal(ask)
            deadline = time.monotonic() + allowance_seconds
            while process.poll() is None and time.monotonic() < deadline:
                yield
    finally:
        process.kill()  # does nothing to a child that has ended
        process.wait()


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError as error:
        return f"({error})"
