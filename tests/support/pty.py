"""Commands as people run them, in a terminal of their own."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from support.child_process import sigint_not_ignored
from support.commands import client_environment
from support.eventually import eventually
from support.forked_chatd import ForkedChatd

_CURSOR_FORWARD = re.compile(r"\x1b\[(\d*)C")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x1b\][^\x07]*\x07")


class Terminal:
    """Command in a terminal. ``text`` is its output so far, without colours."""

    def __init__(
        self, url: str, *arguments: str, through: Sequence[str] = (), **variables: str
    ) -> None:
        self._controller_fd, command_fd = pty.openpty()
        fcntl.ioctl(command_fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        variables = client_environment(url) | variables
        # In a session of its own, in which Ctrl-C is a signal.
        if through:
            with sigint_not_ignored():
                self.process: subprocess.Popen[bytes] | ForkedChatd = subprocess.Popen(
                    ["setsid", "--ctty", *through, sys.executable, "-m", "chatd", *arguments],
                    env=variables,
                    stdin=command_fd,
                    stdout=command_fd,
                    stderr=command_fd,
                )
        else:
            self.process = ForkedChatd(
                arguments, variables, streams=(command_fd,) * 3, in_session_of_terminal=True
            )
        os.close(command_fd)
        self._bytes = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._controller_fd, 65536):
                self._bytes += data
        except OSError:  # the command has closed its end
            return

    @property
    def raw(self) -> str:
        """Output so far as the terminal gets it."""
        return self._bytes.decode(errors="replace")

    @property
    def text(self) -> str:
        raw = self.raw.replace("\r", "")
        spaced = _CURSOR_FORWARD.sub(lambda skip: " " * int(skip[1] or 1), raw)
        return _ESCAPES.sub("", spaced)

    def type_keys(self, keys: str) -> None:
        os.write(self._controller_fd, keys.encode())

    async def wait_for_text(self, text: str, *, times: int = 1) -> None:
        """Wait until the text was shown so often."""
        await eventually(
            lambda: self.text.count(text) >= times or self._assert_shown_if_ended(text),
            describe=lambda: f"{text!r} in {self.text[-3000:]}",
        )

    def _assert_shown_if_ended(self, text: str) -> bool:
        if self.process.poll() is not None and not self._reader.is_alive():
            assert text in self.text, self.text[-3000:]
        return False

    async def wait_for_exit(self) -> int:
        await eventually(
            lambda: self.process.poll() is not None, describe=lambda: self.text[-3000:]
        )
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        os.close(self._controller_fd)


@contextmanager
def terminal(
    url: str, *arguments: str, through: Sequence[str] = (), **variables: str
) -> Iterator[Terminal]:
    """Open a terminal, and close it at the end.

    The command is forked, unless ``through`` is the command that is to execute it.
    """
    opened = Terminal(url, *arguments, through=through, **variables)
    try:
        yield opened
    finally:
        opened.close()
