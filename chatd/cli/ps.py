"""``chatd ps``: your chats and what they are doing, live."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from chatd.cli.as_json import Json, show_json
from chatd.cli.calling import Caller, call, note_gap
from chatd.cli.start import Flag
from chatd.cli.table import OF_CHATS, drawn_table, table
from chatd.cli.words import CHAT_COLUMNS, chat_row, right_now

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
    caller: Caller | None = None,
) -> int:
    """List your chats and what they are doing, live."""
    import sys  # noqa: PLC0415

    wanted: dict[str, Any] = {
        "status": status, "labels": label, "archived": archived, "q": q, "most": limit,
    }  # fmt: skip

    async def job(client: "Client") -> None:
        if json and not once:
            await _stream(client)
        elif json:
            show_json(await _chats(client, wanted))
        elif once or not sys.stdout.isatty():
            now = right_now()
            rows = [chat_row(chat, now) for chat in await _chats(client, wanted)]
            print(table(CHAT_COLUMNS, rows))
        else:
            await _watch(client, wanted)

    return call(caller, job)


async def _chats(client: "Client", wanted: dict[str, Any]) -> "list[Chat]":
    return [chat async for chat in client.chats.list(**wanted)]


async def _stream(client: "Client") -> None:
    """Each event of the caller's chats, one a line."""
    async with client.follow_all(on_gap=note_gap) as events:
        async for event in events:
            show_json({"event": event.event, "data": event.data}, lines=True)


async def _watch(client: "Client", wanted: dict[str, Any]) -> None:
    """A table that is read anew whenever something moved: the server knows which chats it is about."""
    import anyio  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    moved = anyio.Event()

    async def follow() -> None:
        async with client.follow_all(on_gap=note_gap) as events:
            async for _ in events:
                moved.set()

    with Live(_table(await _chats(client, wanted)), auto_refresh=False, screen=False) as live:
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            while True:
                with anyio.move_on_after(_SECOND):  # ages go on when nothing moves
                    await moved.wait()
                moved = anyio.Event()
                live.update(_table(await _chats(client, wanted)), refresh=True)
                await anyio.sleep(_BREATH)


_SECOND = 1.0
_BREATH = 0.2
"""Seconds between two looks, at least."""


def _table(chats: "list[Chat]") -> "Table":
    now = right_now()
    return drawn_table(CHAT_COLUMNS, [chat_row(chat, now) for chat in chats], OF_CHATS)
