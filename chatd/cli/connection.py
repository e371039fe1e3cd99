"""Connection of the commands to a running chatd: options, errors and chat ids."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from typing_extensions import override

from chatd.cli.exit_codes import Exit
from chatd.cli.output import print_error
from chatd.domain.errors import ChatdError
from chatd.domain.header_text import header_value_problem

if TYPE_CHECKING:
    from chatd.client import Client, ClientError

_RETRY_TIMEOUT_SECONDS = 1.0
"""Short, because a person waits: report an unavailable server instead of retrying it."""

_MAX_TOKEN_LENGTH = 2**16
"""Characters of a token's file that are read. Servers accept headers of 8 to 64 kB in total."""
_CREDENTIAL_HINT = "pass it in $CHATD_TOKEN or with --token-file."

_MIN_PREFIX_LENGTH = 4
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MAX_SEARCHED_CHATS = 200


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options that select the server and authenticate."""

    url: Annotated[str, Parameter(env_var="CHATD_URL", help="URL of chatd.")] = (
        "http://127.0.0.1:8080"
    )
    token: Annotated[
        str | None,
        Parameter(
            env_var="CHATD_TOKEN",
            help="Your token, if the server requires one.",
            show_env_var=True,
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Parameter(help="File that holds the token, which then appears in no list of processes."),
    ] = None

    def client(self) -> "Client":
        """Return a client for these options. It connects on the first request."""
        return self._create_client()

    def _create_client(self, *, owner: str | None = None) -> "Client":
        from chatd.client import Client

        token, origin = self.token, "the token"
        if self.token_file is not None:
            origin = f"--token-file {self.token_file}"
            token = _read_token(self.token_file, origin)
        if token is not None and (reason := header_value_problem(token)):
            raise ChatdError(f"{origin}: it {reason}, so no HTTP header can carry it")
        return Client(
            self.url, token=token, owner=owner, retry_timeout_seconds=_RETRY_TIMEOUT_SECONDS
        )


def _read_token(file: Path, origin: str) -> str:
    try:
        with file.open(encoding="utf-8-sig") as text:
            return text.read(_MAX_TOKEN_LENGTH).strip()
    except OSError as error:
        raise ChatdError(f"{origin}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ChatdError(f"{origin}: not UTF-8 text") from error


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CallerOptions(ServerOptions):
    """Options that select the server and the owner whose chats to use."""

    owner: Annotated[str | None, Parameter(help="Act as this owner (scope act-for).")] = None

    @override
    def client(self) -> "Client":
        return self._create_client(owner=self.owner)


ChatId = Annotated[str, Parameter(help="Id of a chat, or its first four or more characters.")]


def run_with_client(
    server: ServerOptions | None, job: Callable[["Client"], Awaitable[int | None]]
) -> int:
    """Run ``job`` with a client and return the exit code. Print errors as lines for a person."""
    import anyio

    from chatd.client import ClientError

    async def run() -> int:
        async with (server or ServerOptions()).client() as client:
            return await job(client) or Exit.DONE

    try:
        return anyio.run(run)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, ClientError | NoSuchChat):
            return report_error(error)
        raise error from None


def report_error(error: "ClientError | NoSuchChat") -> Exit:
    """Print an error and what may help, and return the exit code."""
    from chatd.client import (
        ConnectFailed,
        Forbidden,
        NotFound,
        ServerError,
        Unauthorized,
        UnexpectedResponse,
    )

    print_error(str(error))
    match error:
        case ConnectFailed() | UnexpectedResponse():
            print_error(
                "Start one with 'chatd dev' (or 'chatd run'), or select another with --url."
            )
            return Exit.SERVER_UNAVAILABLE
        case ServerError():
            return Exit.SERVER_UNAVAILABLE
        case Unauthorized():
            print_error(
                f"Create a token with 'chatd token create --owner NAME', and {_CREDENTIAL_HINT}"
            )
            return Exit.UNAUTHORIZED
        case Forbidden():
            print_error(
                f"Create a token with 'chatd token create --owner NAME --scope SCOPE', "
                f"and {_CREDENTIAL_HINT}"
            )
            return Exit.UNAUTHORIZED
        case NotFound() | NoSuchChat():
            return Exit.NOT_FOUND
        case _:
            return Exit.FAILED


class NoSuchChat(ChatdError):
    """Id or prefix that matches no chat, or more than one."""


async def resolve_chat_id(client: "Client", id_or_prefix: str) -> str:
    """Return the id of a chat, given as an id or as a prefix of the id of a recent chat.

    Raises ``NoSuchChat``.
    """
    if _ID.fullmatch(id_or_prefix):
        return id_or_prefix
    matching_ids = []
    if len(id_or_prefix) >= _MIN_PREFIX_LENGTH:
        recent = client.chats.list(archived="any", max_items=_MAX_SEARCHED_CHATS)
        matching_ids = [
            chat["id"] async for chat in recent if chat["id"].startswith(id_or_prefix.lower())
        ]
    match matching_ids:
        case [chat_id]:
            return chat_id
        case []:
            problem = f"None of your {_MAX_SEARCHED_CHATS} most recent chats begins with {id_or_prefix!r}."
        case _:
            problem = (
                f"More than one chat begins with {id_or_prefix!r}: {', '.join(matching_ids[:5])}."
            )
    raise NoSuchChat(problem)


def report_reconnect(error: "ClientError | None", delay: float) -> None:
    """Print that a stream lost its server and when it reconnects. A planned restart prints nothing."""
    if error is not None:
        print_error(f"{error}; trying again in {delay:.1f} s")
