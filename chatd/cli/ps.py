"""``chatd ps``: your chats and what they are doing, live."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from chatd.cli.connection import CallerOptions, report_reconnect, run_with_client
from chatd.cli.formatting import CHAT_COLUMNS, chat_row, utc_now
from chatd.cli.options import Flag
from chatd.cli.output import Json, print_json
from chatd.cli.table import CHAT_STATUS_STYLES, format_table, rich_table

if TYPE_CHECKING:
    from rich.table import Table

    from chatd.client import Chat, Client

app = App(
    name="ps",
    help_epilogue="""On a terminal the table follows what happens until Ctrl-C; into a pipe it is
printed once. With --json but without --once it prints what happens among all
your chats, one event per line.

Examples:
  chatd ps
  chatd ps --status running
  chatd ps --once --label team:red --label urgent
  chatd ps --owner shop                      (as an admin)
  chatd ps --once --json | jq -r '.[] | select(.queue_length > 0).id'""",
)

StatusName = Literal["waiting", "pending", "running", "interrupting", "requires_action", "error"]


@app.default
def ps(
    *,
    once: Annotated[Flag, Parameter(help="Print it once and exit.")] = False,
    status: Annotated[StatusName | None, Parameter(help="Only chats in this status.")] = None,
    label: Annotated[
        tuple[str, ...],
        Parameter(show_default=False, help="Only chats with this NAME or NAME:VALUE; repeatable."),
    ] = (),
    archived: Annotated[Flag, Parameter(help="Only archived chats. Default: only others.")] = False,
    q: Annotated[str | None, Parameter(help="Only chats with this in their title.")] = None,
    limit: Annotated[int, Parameter(help="Show at most this many.")] = 30,
    json: Json = False,
    caller: CallerOptions | None = None,
) -> int:
    """List your chats and what they are doing, live."""
    import sys

    wanted: dict[str, Any] = {
        "status": status, "labels": label, "archived": archived, "q": q, "most": limit,
    }  # fmt: skip

    async def job(client: "Client") -> None:
        if json and not once:
            await _print_events(client)
        elif json:
            print_json(await _list_chats(client, wanted))
        elif once or not sys.stdout.isatty():
            now = utc_now()
            rows = [chat_row(chat, now) for chat in await _list_chats(client, wanted)]
            print(format_table(CHAT_COLUMNS, rows))
        else:
            await _watch(client, wanted)

    return run_with_client(caller, job)


async def _list_chats(client: "Client", filters: dict[str, Any]) -> "list[Chat]":
    return [chat async for chat in client.chats.list(**filters)]


async def _print_events(client: "Client") -> None:
    """Each event of the caller's chats, one a line."""
    async with client.follow_all(on_reconnect=report_reconnect) as events:
        async for event in events:
            print_json({"event": event.event, "data": event.data}, compact=True)


async def _watch(client: "Client", filters: dict[str, Any]) -> None:
    """A table that is read anew whenever something moved: the server knows which chats it is about."""
    import anyio
    from rich.live import Live

    moved = anyio.Event()

    async def follow() -> None:
        async with client.follow_all(on_reconnect=report_reconnect) as events:
            async for _ in events:
                moved.set()

    with Live(
        _chats_table(await _list_chats(client, filters)), auto_refresh=False, screen=False
    ) as live:
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            while True:
                with anyio.move_on_after(_REFRESH_SECONDS):  # ages go on when nothing moves
                    await moved.wait()
                moved = anyio.Event()
                live.update(_chats_table(await _list_chats(client, filters)), refresh=True)
                await anyio.sleep(_MIN_REFRESH_SECONDS)


_REFRESH_SECONDS = 1.0
_MIN_REFRESH_SECONDS = 0.2
"""Seconds between two looks, at least."""


def _chats_table(chats: "list[Chat]") -> "Table":
    now = utc_now()
    return rich_table(CHAT_COLUMNS, [chat_row(chat, now) for chat in chats], CHAT_STATUS_STYLES)
