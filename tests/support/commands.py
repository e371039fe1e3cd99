"""Commands of the CLI that are forked and run to their end, without a terminal."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile

from support.eventually import TIMEOUT_SECONDS, eventually
from support.forked_chatd import ForkedChatd


@dataclass
class CommandResult:
    """Exit code and output of a command."""

    exit_code: int
    stdout: str
    stderr: str


def client_environment(url: str) -> dict[str, str]:
    """Return an environment in which commands talk to the server at ``url``."""
    return clean_environment() | {"CHATD_URL": url, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}


def clean_environment() -> dict[str, str]:
    """Return the environment of the tests without settings of chatd."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CHATD_")}


async def run_command(
    url: str, *arguments: str, stdin: str = "", **variables: str
) -> CommandResult:
    """Run one command that talks to the server at ``url``, and return its result."""
    with _Command(arguments, client_environment(url) | variables, stdin) as command:
        await eventually(lambda: command.process.poll() is not None, interval_seconds=0.005)
        return command.result()


def run_in_environment(*arguments: str, environment: Mapping[str, str]) -> CommandResult:
    """Run one command with these settings of chatd and no others, and return its result."""
    with _Command(arguments, clean_environment() | environment) as command:
        command.process.wait(2 * TIMEOUT_SECONDS)
        return command.result()


class _Command(ExitStack):
    """Context manager that starts a command and kills it at the end, if it still runs."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdin: str = ""
    ) -> None:
        super().__init__()
        self._outputs = TemporaryFile(), TemporaryFile()  # noqa: SIM115 - the stack closes them
        for output in self._outputs:
            self.enter_context(output)
        reader, writer = os.pipe()
        with os.fdopen(reader) as keyboard, os.fdopen(writer, "wb") as typed:
            descriptors = [file.fileno() for file in (keyboard, *self._outputs)]
            self.process = ForkedChatd(arguments, environment, streams=descriptors)
            self.callback(self.process.wait)
            self.callback(self.process.kill)
            typed.write(stdin.encode())

    def result(self) -> CommandResult:
        """Return the result of a command that has ended."""
        assert self.process.returncode is not None, "it has not ended"
        for output in self._outputs:
            output.seek(0)
        return CommandResult(
            self.process.returncode, *(output.read().decode() for output in self._outputs)
        )
