"""``chatd retry``: try a failed turn again, from a terminal."""

from typing import TYPE_CHECKING

from cyclopts import App

from chatd.cli.connection import CallerOptions, ChatId, resolve_chat_id, run_with_client
from chatd.cli.output import Json, print_json

if TYPE_CHECKING:
    from chatd.client import Client

app = App(
    name="retry",
    help_epilogue="""The model is called again with the same history. A chat that did not fail is
left as it is, and that is an error.

Examples:
  chatd retry 5bd0a6e5
  chatd retry 5bd0a6e5 --owner shop          (as an admin)
  chatd ps --once --status error --limit 10000 --json | jq -r '.[].id' |
      xargs -n 1 chatd retry""",
)


@app.default
def retry(chat: ChatId, /, *, json: Json = False, caller: CallerOptions | None = None) -> int:
    """Try the failed turn of a chat again."""

    async def job(client: "Client") -> None:
        tried = await client.chats.retry(await resolve_chat_id(client, chat))
        print_json(tried) if json else print(f"{tried['id']} is {tried['status']}")

    return run_with_client(caller, job)
