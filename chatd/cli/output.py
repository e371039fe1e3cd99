"""Output of the commands: JSON for programs, tables for people.

Everything that a command prints goes through ``echo``, ``echo_bytes`` or ``print_error``, since most of
it was written by others: models, users, servers, files. On a terminal, characters that it would execute
or hide become visible marks. In a pipe the text stays as it is, and only a record of one line stays one.

A table is plain aligned text: unlike boxes it pipes, greps and wraps as one line per row. A live
table on a terminal has colours, and cells that do not fit are cut.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from chatd.domain.sanitize import visible

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
    "parked": "blue",
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

TEXT_LAYOUT = "\n\t"
"""Control characters that a text of several lines may have on a terminal."""


def echo(text: str = "", *, end: str = "\n", error: bool = False) -> None:
    """Print a text of any number of lines, on standard error if ``error``."""
    stream = sys.stderr if error else sys.stdout
    print(
        visible(text, keep=TEXT_LAYOUT) if stream.isatty() else text,
        end=end,
        file=stream,
        flush=True,
    )


def echo_bytes(data: bytes) -> None:
    """Print bytes that are probably text. In a pipe they stay as they are, valid or not."""
    if sys.stdout.isatty():
        echo(data.decode(errors="backslashreplace"), end="")
    else:
        echo_rendered(data)


def echo_rendered(data: bytes) -> None:
    """Print text with escape sequences of our own. Its caller has made everything else in it visible."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def print_error(text: str) -> None:
    """Print an error on standard error, each line with the name of the program."""
    for line in text.removesuffix("\n").split("\n"):
        echo(f"chatd: {line}", error=True)


def one_line(text: str) -> str:
    """Return a text to print as part of one line: a line end within it becomes a visible mark."""
    return visible(text) if sys.stdout.isatty() else text.replace("\n", "\\n")


def print_json(document: Any, *, compact: bool = False) -> None:
    """Print a document, on one line if ``compact``."""
    echo(to_json(document, indent=None if compact else 2))


def to_json(document: Any, *, indent: int | None = None) -> str:
    """Return readable JSON. Types that JSON does not have become text."""
    return json.dumps(document, indent=indent, ensure_ascii=False, default=str)


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows below their headers, with aligned columns."""
    lines = [headers, *([one_line(cell) for cell in row] for row in rows)]
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
        table.add_row(*(Text(visible(cell), style=styles.get(cell, "")) for cell in cells))
    return table
