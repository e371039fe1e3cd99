"""The commands by name, and how each ends.

They stand in the order in which a newcomer needs them. Each sentence is repeated here from the
command's own docstring, because reading it there would import every command; a test compares the
two. What there is to say beyond it stands in the command's epilogue, for the same reason.
"""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from chatd import __version__
from chatd.cli.exit_codes import Exit, exit_code_for

COMMANDS = {
    "demo": "Answer one prompt with everything embedded: the main job in one command.",
    "dev": "Run chatd with a database and a model of its own, for development.",
    "chat": "Talk in the terminal.",
    "ps": "List your chats and what they are doing, live.",
    "top": "Show one process live: its actors and the chats it leases.",
    "show": "Show a chat: its messages, its queue, and what it is doing.",
    "tail": "Follow what happens in a chat.",
    "interrupt": "Stop what a chat is doing.",
    "retry": "Try the failed turn of a chat again.",
    "run": "Run the daemon.",
    "health": "Ask the running chatd whether it is ready.",
    "migrate": "Bring the database's schema up to date, take it back, or show it.",
    "config": "Check the configuration, or show what is in force.",
    "token": "Create, list and revoke the tokens that callers authenticate with.",
    "logs": "Read the log: follow it, filter it, make it readable.",
    "openapi": "Print the OpenAPI description of the HTTP API.",
    "completion": "Print the completion script for a shell.",
}

_PACKAGES = {"chat": "chat.command", "logs": "logs.command"}
"""Commands with a package of their own."""

app = App(
    name="chatd",
    help="A daemon that runs AI chats over PostgreSQL.",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    help_epilogue="""Try it:           chatd demo 'Why is the sky blue?'
Talk:             chatd dev, and elsewhere: chatd chat
Set it up:        chatd config check && chatd migrate up && chatd run
More on each:     chatd COMMAND --help""",
)
for order, (name, sentence) in enumerate(COMMANDS.items()):
    module = _PACKAGES.get(name, name)
    app.command(f"chatd.cli.{module}:app", name=name, help=sentence, sort_key=order)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print_error(f"{error}\nTry 'chatd --help'.")
        return Exit.USAGE
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as error:
        code = exit_code_for(error)
        if code is None:
            raise
        print_error(str(error))
        return code
    return result if isinstance(result, int) else Exit.DONE


def print_error(text: str) -> None:
    """Say on standard error what is wrong, each line under the program's name."""
    for line in text.splitlines():
        print(f"chatd: {line}", file=sys.stderr)
