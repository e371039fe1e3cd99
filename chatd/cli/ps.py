"""``chatd ps``: table of your chats, live."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from chatd.cli.connection import CallerOptions, report_reconnect, run_with_client
from chatd.cli.formatting import CHAT_COLUMNS, chat_rows, utc_now
from chatd.cli.options import Flag
from chatd.cli.output import CHAT_STATUS_STYLES, Json, echo, format_table, print_json, rich_table

if TYPE_CHECKING:
    from rich.table import Table

    from chatd.client import Chat, Client

app = App(
    name="ps",
    help_epilogue="""On a terminal the table is updated until Ctrl-C. Into a pipe it is printed once.
With --json but without --once, it prints the events of all your chats, one per
line.

Examples:
  chatd ps
  chatd ps --status running
  chatd ps --tree                            (agents below the chats that started them)
  chatd ps --once --label team:red --label urgent
  chatd ps --owner shop                      (scope act-for)
  chatd ps --once --json | jq -r '.[] | select(.queue_length > 0).id'""",
)

StatusName = Literal[
    "waiting", "pending", "running", "interrupting", "requires_action", "parked", "error"
]


@app.default
def ps(
    *,
    once: Annotated[Flag, Parameter(help="Print the table once and exit.")] = False,
    status: Annotated[StatusName | None, Parameter(help="Only chats in this status.")] = None,
    label: Annotated[
        tuple[str, ...],
        Parameter(
            show_default=False, help="Only chats with this label: NAME or NAME:VALUE. Repeatable."
        ),
    ] = (),
    archived: Annotated[Flag, Parameter(help="Only archived chats.")] = False,
    everything: Annotated[Flag, Parameter(name="--all", help="Archived chats too.")] = False,
    tree: Annotated[
        Flag, Parameter(help="Show agents below the chats that started them, as far as both fit.")
    ] = False,
    q: Annotated[str | None, Parameter(help="Only chats whose title contains this.")] = None,
    limit: Annotated[int, Parameter(help="Maximum number of chats.")] = 30,
    json: Json = False,
    caller: CallerOptions | None = None,
) -> int:
    """List your chats and their activity, live."""
    import sys

    filters: dict[str, Any] = {
        "status": status, "labels": label, "q": q, "max_items": limit,
        "archived": "any" if everything else archived,
    }  # fmt: skip

    async def job(client: "Client") -> None:
        if json and not once:
            await _print_events(client)
        elif json:
            print_json(await _list_chats(client, filters))
        elif once or not sys.stdout.isatty():
            chats = await _list_chats(client, filters)
            echo(format_table(CHAT_COLUMNS, chat_rows(chats, utc_now(), tree=tree)))
        else:
            await _watch(client, filters, tree=tree)

    return run_with_client(caller, job)


async def _list_chats(client: "Client", filters: dict[str, Any]) -> "list[Chat]":
    return [chat async for chat in client.chats.list(**filters)]


async def _print_events(client: "Client") -> None:
    """Print the events of all the caller's chats, one per line."""
    async with client.follow_all(on_reconnect=report_reconnect) as events:
        async for event in events:
            print_json({"event": event.event, "data": event.data}, compact=True)


async def _watch(client: "Client", filters: dict[str, Any], *, tree: bool) -> None:
    """Show the table, and read it again after each event: the server applies the filters."""
    import anyio
    from rich.live import Live

    changed = anyio.Event()

    async def follow() -> None:
        async with client.follow_all(on_reconnect=report_reconnect) as events:
            async for _ in events:
                changed.set()

    async def table() -> "Table":
        chats = await _list_chats(client, filters)
        rows = chat_rows(chats, utc_now(), tree=tree)
        return rich_table(CHAT_COLUMNS, rows, CHAT_STATUS_STYLES)

    with Live(await table(), auto_refresh=False, screen=False) as live:
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            while True:
                with anyio.move_on_after(_REFRESH_SECONDS):  # ages change without events
                    await changed.wait()
                changed = anyio.Event()
                live.update(await table(), refresh=True)
                await anyio.sleep(_MIN_REFRESH_SECONDS)


_REFRESH_SECONDS = 1.0
_MIN_REFRESH_SECONDS = 0.2
"""Shortest time between two reads of the table."""
