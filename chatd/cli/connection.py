"""What the commands for people begin with: where the server is, who calls, and what went wrong."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from typing_extensions import override

from chatd.cli.exit_codes import Exit
from chatd.cli.main import print_error
from chatd.domain.errors import ChatdError

if TYPE_CHECKING:
    from chatd.client import Client, ClientError

_RETRY_TIMEOUT_SECONDS = 1.0
"""Somebody sits and waits: a server that is away is said to be away."""

_CREDENTIAL_HINT = "give it in $CHATD_TOKEN or with --token-file."

_MIN_PREFIX_LENGTH = 4
_ID_LENGTH = 36
_MAX_SEARCHED_CHATS = 200


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """The server to ask."""

    url: Annotated[str, Parameter(env_var="CHATD_URL", help="The address of chatd.")] = (
        "http://127.0.0.1:8080"
    )
    token: Annotated[
        str | None,
        Parameter(
            env_var="CHATD_TOKEN",
            help="Your token, where the server asks for one.",
            show_env_var=True,
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Parameter(help="A file that holds the token, which then shows in no list of processes."),
    ] = None

    def client(self) -> "Client":
        """Not connected yet."""
        return self._create_client()

    def _create_client(self, *, owner: str | None = None) -> "Client":
        from chatd.client import Client

        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ChatdError(f"--token-file {self.token_file}: {error.strerror}") from error
        return Client(
            self.url, token=token, owner=owner, retry_timeout_seconds=_RETRY_TIMEOUT_SECONDS
        )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CallerOptions(ServerOptions):
    """The server to ask, and whose chats to ask it for."""

    owner: Annotated[str | None, Parameter(help="Act as this owner (admins only).")] = None

    @override
    def client(self) -> "Client":
        return self._create_client(owner=self.owner)


ChatId = Annotated[str, Parameter(help="A chat's id, or at least four characters it begins with.")]


def run_with_client(
    server: ServerOptions | None, job: Callable[["Client"], Awaitable[int | None]]
) -> int:
    """Do ``job`` with a client; what goes wrong is a line for a person, and an exit code."""
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
    """Say what went wrong and what may help."""
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
            print_error("Start one with 'chatd dev' (or 'chatd run'), or name another with --url.")
            return Exit.SERVER_UNAVAILABLE
        case ServerError():
            return Exit.SERVER_UNAVAILABLE
        case Unauthorized():
            print_error(f"Make a token with 'chatd token create --owner NAME'; {_CREDENTIAL_HINT}")
            return Exit.UNAUTHORIZED
        case Forbidden():
            print_error(
                f"Make an admin's with 'chatd token create --owner NAME --admin'; {_CREDENTIAL_HINT}"
            )
            return Exit.UNAUTHORIZED
        case NotFound() | NoSuchChat():
            return Exit.NOT_FOUND
        case _:
            return Exit.FAILED


class NoSuchChat(ChatdError):
    """What was given names no chat."""


async def resolve_chat_id(client: "Client", id_or_prefix: str) -> str:
    """The chat that ``id_or_prefix`` means: an id, or the beginning of one among the most recent chats.

    Raises ``NoSuchChat``.
    """
    if len(id_or_prefix) >= _ID_LENGTH:
        return id_or_prefix
    found = []
    if len(id_or_prefix) >= _MIN_PREFIX_LENGTH:
        recent = client.chats.list(max_items=_MAX_SEARCHED_CHATS)
        found = [chat["id"] async for chat in recent if chat["id"].startswith(id_or_prefix.lower())]
    match found:
        case [only]:
            return only
        case []:
            why = f"None of your {_MAX_SEARCHED_CHATS} most recent chats begins with {id_or_prefix!r}."
        case _:
            why = f"More than one chat begins with {id_or_prefix!r}: {', '.join(found[:5])}."
    raise NoSuchChat(why)


def report_reconnect(error: "ClientError | None", delay: float) -> None:
    """Say that a stream goes on elsewhere, or that it waits for its server."""
    if error is not None:
        print_error(f"{error}; trying again in {delay:.1f} s")
