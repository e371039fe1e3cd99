"""Processes of chatd that are forked from a server which has imported it.

Importing chatd is most of the CPU of a start. The forked process runs the same ``main`` with arguments,
environment and output of its own, and is as real to signals, /proc and PostgreSQL as any other.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

from chatd.__main__ import main

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["chatd.cli.run", "chatd.daemon", "uvicorn", "uvloop"])


class ForkedChatd:
    """A running ``chatd``, like ``subprocess.Popen`` as far as tests use it.

    ``stdout`` has both outputs.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        reader, writer = _context.Pipe(duplex=False)
        with reader, writer:
            self._process = _context.Process(
                target=_run, args=(arguments, dict(environment), writer)
            )
            self._process.start()
            self.stdout = os.fdopen(os.dup(reader.fileno()))
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self.returncode

    def wait(self) -> int:
        """Wait for the end. Return the exit code."""
        self._process.join()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, signal_number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal_number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)


def _run(arguments: Sequence[str], environment: Mapping[str, str], output: Connection) -> None:
    """Become ``chatd`` with these ``arguments``. Set anew what an interpreter sets up when it starts."""
    with output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout = open(1, "w")  # noqa: SIM115 - as long as the process
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["chatd", *arguments]
    main()
