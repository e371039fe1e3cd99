"""``chatd retry``: try a failed turn again, from a terminal."""

from typing import TYPE_CHECKING

from cyclopts import App

from chatd.cli.calling import ChatId, Json, Server, call, show_json, whole_id

if TYPE_CHECKING:
    from chatd.client import Client

app = App(
    name="retry",
    help_epilogue="""The model is called again with the same history. A chat that did not fail is
left as it is, and that is an error.

Examples:
  chatd retry 5bd0a6e5
  chatd ps --once --status error --json | jq -r '.[].id' | xargs -n 1 chatd retry""",
)


@app.default
def retry(chat: ChatId, /, *, json: Json = False, server: Server | None = None) -> int:
    """Try the failed turn of a chat again."""

    async def job(client: "Client") -> None:
        tried = await client.chats.retry(await whole_id(client, chat))
        show_json(tried) if json else print(f"{tried['id']} is {tried['status']}")

    return call(server, job)
