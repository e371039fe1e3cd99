"""``chatd interrupt`` and ``chatd retry``: commands that act on one chat."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from cyclopts import App

from chatd.cli.connection import CallerOptions, ChatId, resolve_chat_id, run_with_client
from chatd.cli.output import Json, echo, one_line, print_json

if TYPE_CHECKING:
    from chatd.client import Chat, Client

interrupt_app = App(
    name="interrupt",
    help_epilogue="""The part of the answer that was already streamed is stored. The command can be
repeated safely. An idle chat does not change. Queued messages are answered
next.

Examples:
  chatd interrupt 5bd0a6e5
  chatd interrupt 5bd0a6e5 --owner shop      (scope act-for)
  chatd ps --once --status running --limit 10000 --json | jq -r '.[].id' |
      xargs -n 1 chatd interrupt""",
)
retry_app = App(
    name="retry",
    help_epilogue="""Calls the model again with the same history. A chat whose last turn did not
fail does not change, and the command reports an error.

Examples:
  chatd retry 5bd0a6e5
  chatd retry 5bd0a6e5 --owner shop          (scope act-for)
  chatd ps --once --status error --limit 10000 --json | jq -r '.[].id' |
      xargs -n 1 chatd retry""",
)


@interrupt_app.default
def interrupt(chat: ChatId, /, *, json: Json = False, caller: CallerOptions | None = None) -> int:
    """Stop the running turn of a chat."""
    return _act(chat, lambda client, chat_id: client.chats.interrupt(chat_id), json, caller)


@retry_app.default
def retry(chat: ChatId, /, *, json: Json = False, caller: CallerOptions | None = None) -> int:
    """Retry the failed turn of a chat."""
    return _act(chat, lambda client, chat_id: client.chats.retry(chat_id), json, caller)


def _act(
    chat: str,
    action: "Callable[[Client, str], Awaitable[Chat]]",
    json: bool,
    caller: CallerOptions | None,
) -> int:
    async def job(client: "Client") -> None:
        result = await action(client, await resolve_chat_id(client, chat))
        print_json(result) if json else echo(one_line(f"{result['id']} is {result['status']}"))

    return run_with_client(caller, job)
