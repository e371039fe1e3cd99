"""``chatd search``: chats by words of their messages."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from chatd.cli.connection import CallerOptions, run_with_client
from chatd.cli.formatting import SHORT_ID, format_age, utc_now
from chatd.cli.options import Flag
from chatd.cli.output import Json, echo, format_table, print_json

if TYPE_CHECKING:
    from chatd.client import Client
    from chatd.client.types import MessageMatch

app = App(
    name="search",
    help_epilogue="""A chat is found if one message has all the words. "A phrase" needs quotes of its
own, 'or' stands between alternatives, and '-' before a word that is not to be
there. Messages are found some seconds after they were stored.

Examples:
  chatd search blue sky
  chatd search '"blue sky" -sea'
  chatd search --all sky or sea
  chatd search sky --json | jq -r '.[].chat.id'""",
)
_COLUMNS = ("CHAT", "UPDATED", "TITLE", "FOUND")


@app.default
def search(
    *words: Annotated[str, Parameter(help="What to find.", allow_leading_hyphen=True)],
    archived: Annotated[Flag, Parameter(help="Only archived chats.")] = False,
    everything: Annotated[Flag, Parameter(name="--all", help="Archived chats too.")] = False,
    limit: Annotated[int, Parameter(help="Maximum number of chats.")] = 30,
    json: Json = False,
    caller: CallerOptions | None = None,
) -> int:
    """Find your chats by words of their messages."""

    async def job(client: "Client") -> None:
        chats = client.chats.search(
            " ".join(words), archived="any" if everything else archived, max_items=limit
        )
        found = [each async for each in chats]
        if json:
            print_json([{"chat": chat, "match": match} for chat, match in found])
            return
        now = utc_now()
        rows = [
            (
                chat["id"][:SHORT_ID],
                format_age(chat["updated_at"], now),
                chat["title"] or "-",
                _line(match),
            )
            for chat, match in found
        ]
        echo(format_table(_COLUMNS, rows))

    return run_with_client(caller, job)


def _line(match: "MessageMatch") -> str:
    """Return an excerpt in one line."""
    return " ".join("".join(piece["text"] for piece in match["excerpt"]).split())
