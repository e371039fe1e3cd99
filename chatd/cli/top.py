"""``chatd top``: live view of one process, its actors and its leased chats."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from chatd.cli.connection import ServerOptions, run_with_client
from chatd.cli.options import Flag
from chatd.cli.output import (
    ACTOR_STATE_STYLES,
    CHAT_STATUS_STYLES,
    Json,
    echo,
    format_table,
    one_line,
    print_json,
    rich_table,
)
from chatd.domain.duration import format_duration
from chatd.domain.sanitize import visible

if TYPE_CHECKING:
    from rich.console import Group

    from chatd.client import Client
    from chatd.client.types import DatabaseStats, ProcessStatus

app = App(
    name="top",
    help_epilogue="""Requests /statusz of the process at --url repeatedly until Ctrl-C. Into a pipe it
prints the status once. If the server requires tokens, it needs one with the scope
operate. Behind a load balancer, each request may reach another process: use the URL of
one process.

Examples:
  chatd top
  chatd top --once
  chatd top --once --json |
      jq -r '.chats[] | select(.seconds_since_progress > 60).chat_id'""",
)

_ACTOR_COLUMNS = ("ACTOR", "STATE", "FOR", "RESTARTS", "LEFT", "NOTE")
_CHAT_COLUMNS = (
    "CHAT",
    "STATUS",
    "EPOCH",
    "STEP",
    "LEASED",
    "STAGE",
    "FOR",
    "DEADLINE",
    "IDLE",
    "LEASE",
)


@app.default
def top(
    *,
    once: Annotated[Flag, Parameter(help="Print the status once and exit.")] = False,
    interval: Annotated[float, Parameter(help="Seconds between two requests.")] = 1.0,
    json: Json = False,
    server: ServerOptions | None = None,
) -> int:
    """Show one process live: its actors and the chats it leases."""
    import sys

    async def job(client: "Client") -> None:
        if json:
            print_json(await client.status())
        elif once or not sys.stdout.isatty():
            echo("\n".join(_plain_lines(await client.status())))
        else:
            await _watch(client, max(interval, _MIN_INTERVAL_SECONDS))

    return run_with_client(server, job)


_MIN_INTERVAL_SECONDS = 0.1


async def _watch(client: "Client", seconds: float) -> None:
    import anyio
    from rich.live import Live

    status = await client.status()
    with Live(auto_refresh=False, screen=True) as live:
        while True:
            live.update(_screen(status, live.console.height // 2), refresh=True)
            await anyio.sleep(seconds)
            status = await client.status()


def summary_lines(status: "ProcessStatus") -> list[str]:
    """Return the status of the whole process as lines of text."""
    pool, versions, stats = status["pool"], status["versions"], status["database_stats"]
    where = f"{status['worker_id']} on {status['host']} (pid {status['pid']})"
    return [
        f"{where}: {status['phase']}, up {_duration_cell(status['uptime_seconds'])}",
        _join_facts(
            f"chatd {versions['chatd']}",
            f"Python {versions['python']}",
            f"PostgreSQL {versions['postgresql'] or 'unknown'}",
        ),
        _join_facts(
            f"{len(status['chats'])} leased chats, {status['free_slots']} free slots",
            f"{status['streams']} streams",
            f"pool {pool['in_use']}/{pool['size']}, {pool['waiting']} waiting",
            f"loop lag {1000 * status['loop_lag_seconds']:.0f} ms",
        ),
        "The database has not answered." if stats is None else _stats_line(stats),
    ]


def _stats_line(stats: "DatabaseStats") -> str:
    return _join_facts(
        f"{stats['workers']} workers",
        *(f"{number} {name}" for name, number in stats["chats"].items() if number),
        f"oldest pending for {_duration_cell(stats['oldest_pending_seconds'])}",
    )


def _join_facts(*facts: str) -> str:
    return " · ".join(facts)


def actor_rows(status: "ProcessStatus") -> list[tuple[str, ...]]:
    """Return the cells of the table of actors."""
    return [
        (
            actor["name"],
            actor["state"],
            _duration_cell(actor["seconds"]),
            str(actor["restarts"]),
            str(actor["budget_left"]),
            actor["note"] or actor["last_error"] or "",
        )
        for actor in status["actors"]
    ]


def chat_rows(status: "ProcessStatus") -> list[tuple[str, ...]]:
    """Return the cells of the table of leased chats, longest without progress first."""
    return [
        (
            chat["chat_id"],
            chat["status"],
            str(chat["epoch"]),
            str(chat["committed_steps"]),
            _duration_cell(chat["leased_seconds"]),
            chat["stage"] or chat["last_progress"] or "",
            _duration_cell(chat["stage_seconds"]),
            _duration_cell(chat["deadline_seconds"]),
            _duration_cell(chat["seconds_since_progress"]),
            _duration_cell(chat["lease_left_seconds"]),
        )
        for chat in sorted(status["chats"], key=lambda chat: -chat["seconds_since_progress"])
    ]


def _duration_cell(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds, decimals=1)


def _plain_lines(status: "ProcessStatus") -> Iterator[str]:
    yield from map(one_line, summary_lines(status))
    if status["chats"]:
        yield ""
        yield format_table(_CHAT_COLUMNS, chat_rows(status))
    yield ""
    yield format_table(_ACTOR_COLUMNS, actor_rows(status))


def _screen(status: "ProcessStatus", max_chats: int) -> "Group":
    """Return the live view: first what needs attention, since the end of the screen cuts the rest off."""
    from rich.console import Group
    from rich.text import Text

    now = Text(time.strftime("%H:%M:%S"), style="dim")
    chats, actors = chat_rows(status)[:max_chats], actor_rows(status)
    actors.sort(key=lambda row: row[_ACTOR_COLUMNS.index("STATE")] == "running")
    return Group(
        *(Text(visible(line)) for line in summary_lines(status)),
        now,
        rich_table(_CHAT_COLUMNS, chats, CHAT_STATUS_STYLES),
        Text(""),
        rich_table(_ACTOR_COLUMNS, actors, ACTOR_STATE_STYLES),
    )
