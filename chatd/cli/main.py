"""Table of the commands, and the entry point that runs one.

The order is that in which a new user needs the commands. Each sentence repeats the docstring of the
command, because reading it there would import every command. A test compares the two. Further help
is in the epilogue of each command, for the same reason.
"""

import os
import signal
import sys
from collections.abc import Sequence
from traceback import format_exception
from types import TracebackType

from cyclopts import App, CycloptsError, Parameter

from chatd import __version__
from chatd.cli.exit_codes import Exit, exit_code_for
from chatd.cli.output import echo, print_error

COMMANDS = {
    "demo": "Answer one prompt with an embedded database and model, in one command.",
    "dev": "Run chatd with an embedded database and model, for development.",
    "chat": "Chat with a model in the terminal.",
    "ps": "List your chats and their activity, live.",
    "search": "Find your chats by words of their messages.",
    "top": "Show one process live: its actors and the chats it leases.",
    "show": "Show a chat: its messages, its queue and its activity.",
    "tail": "Follow the events of a chat.",
    "interrupt": "Stop the running turn of a chat.",
    "retry": "Retry the failed turn of a chat.",
    "run": "Run the daemon.",
    "health": "Report whether the running chatd is ready.",
    "migrate": "Apply, revert or list the migrations of the database.",
    "config": "Check the configuration, or show the values in force.",
    "token": "Create, list and revoke the tokens that callers authenticate with.",
    "logs": "Read the log: follow, filter and format it.",
    "openapi": "Print the OpenAPI description of the HTTP API.",
    "completion": "Print the completion script for a shell.",
}

_APPS = {
    "chat": "chat.command:app",
    "logs": "logs.command:app",
    "interrupt": "actions:interrupt_app",
    "retry": "actions:retry_app",
}
"""Commands that are not ``app`` of the module with their name."""


def app_path(command: str) -> str:
    """Return the import path of a command's app, as ``module:attribute``."""
    return f"chatd.cli.{_APPS.get(command, f'{command}:app')}"


app = App(
    name="chatd",
    help="A daemon that runs AI chats over PostgreSQL.",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    help_epilogue="""Try it:                   chatd demo 'Why is the sky blue?'
Chat:                     chatd dev, and in another terminal: chatd chat
Set it up:                chatd config check && chatd migrate up && chatd run
Help for each command:    chatd COMMAND --help""",
)
for order, (name, sentence) in enumerate(COMMANDS.items()):
    app.command(app_path(name), name=name, help=sentence, sort_key=order)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stdin is not None and sys.stdin.isatty():
        _restore_ctrl_c()
    try:
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print_error(f"{error}\nTry 'chatd --help'.")
        return Exit.USAGE
    except BrokenPipeError:  # the reader of the pipe, such as head, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as error:
        code = exit_code_for(error)
        if code is None:  # a bug
            if sys.excepthook is sys.__excepthook__:  # the daemon logs it instead
                sys.excepthook = _print_traceback
            raise
        print_error(str(error))
        return code
    return result if isinstance(result, int) else Exit.DONE


def _print_traceback(
    kind: type[BaseException], error: BaseException, frames: TracebackType | None
) -> None:
    """Print the traceback of a bug. Its message may hold anything."""
    echo("".join(format_exception(kind, error, frames)), end="", error=True)


def _restore_ctrl_c() -> None:
    """Have Ctrl-C raise ``KeyboardInterrupt`` even if this process inherited SIGINT as ignored.

    A shell without job control ignores it in background jobs, and their children inherit that. A command
    whose input is the terminal is in the foreground again, and its help promises Ctrl-C.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
