"""``chatd interrupt``: stop a chat from a terminal."""

from typing import TYPE_CHECKING

from cyclopts import App

from chatd.cli.connection import CallerOptions, ChatId, resolve_chat_id, run_with_client
from chatd.cli.output import Json, print_json

if TYPE_CHECKING:
    from chatd.client import Client

app = App(
    name="interrupt",
    help_epilogue="""What the model said so far is kept. Safe to repeat; a chat at rest is
left as it is. Messages that wait in the queue are answered next.

Examples:
  chatd interrupt 5bd0a6e5
  chatd interrupt 5bd0a6e5 --owner shop      (as an admin)
  chatd ps --once --status running --limit 10000 --json | jq -r '.[].id' |
      xargs -n 1 chatd interrupt""",
)


@app.default
def interrupt(chat: ChatId, /, *, json: Json = False, caller: CallerOptions | None = None) -> int:
    """Stop what a chat is doing."""

    async def job(client: "Client") -> None:
        stopped = await client.chats.interrupt(await resolve_chat_id(client, chat))
        print_json(stopped) if json else print(f"{stopped['id']} is {stopped['status']}")

    return run_with_client(caller, job)
