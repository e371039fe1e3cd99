"""Processes of chatd that are forked from a server which has imported it.

Importing chatd is most of the CPU of a start. The forked process runs the same ``main`` with arguments,
environment and standard streams of its own, and is as real to signals, /proc and PostgreSQL as any other.
"""

import fcntl
import multiprocessing
import os
import signal
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from chatd.__main__ import main

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "chatd.cli.run",
        "chatd.daemon",
        "uvicorn",
        "uvloop",
        "chatd.cli.chat.interactive",
        "rich.live",
    ]
)


class ForkedChatd:
    """A running ``chatd``, like ``subprocess.Popen`` as far as tests use it."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        streams: Sequence[int],
        in_session_of_terminal: bool = False,
    ) -> None:
        """Start a process with duplicates of ``streams``: standard input, output and error.

        ``in_session_of_terminal`` starts a session, whose controlling terminal is standard input.
        """
        # Connections, since multiprocessing knows how to hand their descriptors over.
        connections = [Connection(os.dup(fd)) for fd in streams]
        self._process = _context.Process(
            target=_run,
            args=(arguments, dict(environment), connections, in_session_of_terminal),
        )
        self._process.start()
        for connection in connections:
            connection.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self.returncode

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for the end. Return the exit code."""
        self._process.join(timeout_seconds)
        assert self.returncode is not None, f"it did not end within {timeout_seconds} s"
        return self.returncode

    def send_signal(self, signal_number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            # It may have ended meanwhile. Its parent, the server, has no zombie of it.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)


class PipedChatd(ForkedChatd):
    """A running ``chatd`` without input. ``stdout`` has both outputs."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        reader, writer = os.pipe()
        self.stdout = os.fdopen(reader)
        with Path(os.devnull).open() as nothing, os.fdopen(writer, "wb") as output:
            streams = (nothing.fileno(), output.fileno(), output.fileno())
            super().__init__(arguments, environment, streams=streams)


def _run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    streams: Sequence[Connection],
    in_session_of_terminal: bool,
) -> None:
    """Become ``chatd`` with these ``arguments``. Set anew what an interpreter sets up when it starts."""
    if in_session_of_terminal:
        os.setsid()
        fcntl.ioctl(streams[0].fileno(), termios.TIOCSCTTY, 0)
    for descriptor, stream in enumerate(streams):
        os.dup2(stream.fileno(), descriptor)
        stream.close()
    sys.stdin = open(0)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["chatd", *arguments]
    main()
