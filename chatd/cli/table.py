"""Tables as plain aligned text: they pipe, grep and wrap as one line per row, unlike boxes.

What is watched on a terminal is drawn instead: in colours, and cut where it does not fit.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

CHAT_STATUS_STYLES = {
    "waiting": "green",
    "pending": "yellow",
    "running": "cyan",
    "interrupting": "yellow",
    "requires_action": "magenta",
    "error": "red",
}
"""Colours of the statuses of chats."""
ACTOR_STATE_STYLES = {
    "running": "green",
    "waiting": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "backing_off": "red",
    "failed": "red",
}
"""Colours of the states of actors."""


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under their heads, columns aligned."""
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def rich_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], styles: Mapping[str, str]
) -> "Table":
    """The same for a terminal that is watched; ``styles`` are the colours of cells, by what they say."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*headers, box=None, pad_edge=False, header_style="bold", expand=False)
    for column in drawn.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    for cells in rows:
        drawn.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in cells))
    return drawn
