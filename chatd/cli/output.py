"""Output of the commands: JSON for programs, tables for people.

A table is plain aligned text: unlike boxes it pipes, greps and wraps as one line per row. A live
table on a terminal has colours, and cells that do not fit are cut.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.table import Table

Json = Annotated[
    bool,
    Parameter(name="--json", show_default=False, help="Print JSON: one document, or one per line."),
]

CHAT_STATUS_STYLES = {
    "waiting": "green",
    "pending": "yellow",
    "running": "cyan",
    "interrupting": "yellow",
    "requires_action": "magenta",
    "error": "red",
}
"""Colours of chat statuses."""
ACTOR_STATE_STYLES = {
    "running": "green",
    "waiting": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "backing_off": "red",
    "failed": "red",
}
"""Colours of actor states."""


def print_json(document: Any, *, compact: bool = False) -> None:
    """Print a document, on one line if ``compact``."""
    print(to_json(document, indent=None if compact else 2), flush=True)


def to_json(document: Any, *, indent: int | None = None) -> str:
    """Return readable JSON. Types that JSON does not have become text."""
    return json.dumps(document, indent=indent, ensure_ascii=False, default=str)


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows below their headers, with aligned columns."""
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def rich_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], styles: Mapping[str, str]
) -> "Table":
    """Return a table for a live view. ``styles`` maps the text of a cell to its colour."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers, box=None, pad_edge=False, header_style="bold", expand=False)
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    for cells in rows:
        table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in cells))
    return table
