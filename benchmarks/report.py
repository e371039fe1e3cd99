"""Reports of figures, as text and as JSON."""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.figures import Figure, Section

_PIPE_WIDTH = 150
"""Columns of a table that goes to a file or a pipe."""
_MAX_DETAILS = 8


def to_json(head: dict[str, Any], sections: Sequence[Section]) -> str:
    """Return everything as a JSON document."""
    measures = [
        {
            "name": section.name,
            "seconds": round(section.seconds, 2),
            "error": section.error,
            "figures": [figure.to_json() for figure in section.figures],
        }
        for section in sections
    ]
    return json.dumps(head | {"measures": measures}, indent=2)


def print_report(head: dict[str, Any], sections: Sequence[Section]) -> None:
    """Print a table for each measure, with one description below figures that share it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    for section in sections:
        console.print(f"\n[bold]{section.title}[/bold]  [dim]--only {section.name}[/dim]")
        if section.error:
            console.print(Text(f"  could not be measured: {section.error}", style="red"))
        for description, figures in groupby(section.figures, key=lambda figure: figure.description):
            console.print(_table(list(figures)))
            console.print(Text(f"  {description}", style="dim"))
    console.print(f"\n[dim]{_footer(head)}[/dim]")


def _table(figures: Sequence[Figure]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(width=38)
    table.add_column(width=15, justify="right", style="bold")
    for width in (16, 6):
        table.add_column(width=width, justify="right")
    table.add_column(width=22)
    table.add_column(style="dim", ratio=1)
    for figure in figures:
        details = list(figure.detail.items())[:_MAX_DETAILS]
        table.add_row(
            f"  {figure.title}",
            f"{format_number(figure.value)} {figure.unit}",
            "" if figure.baseline is None else f"baseline {format_number(figure.baseline)}",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            _target_cell(figure),
            " · ".join(f"{name} {format_number(value)}" for name, value in details),
        )
    return table


def _target_cell(figure: Figure) -> Text:
    if figure.target is None:
        return Text("")
    mark, style = ("✓", "green") if figure.target_met else ("✗", "bold red")
    sign = " of baseline" if figure.target.applies_to == "ratio" else ""
    return Text(f"{figure.target.comparison} {figure.target.bound:g}{sign} {mark}", style=style)


def format_number(value: float) -> str:
    """Return the number with three significant digits."""
    if value == 0:
        return "0"
    if abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _footer(head: dict[str, Any]) -> str:
    return (
        f"chatd {head['chatd']} · Python {head['python']} · {head['server']} · {head['cores']} cores, "
        f"load {head['load_before']:.1f} before and {head['load_after']:.1f} after · "
        f"{head['seconds']:.0f} s{' · quick' if head['quick'] else ''}. "
        "The baseline is the same work without chatd, measured in alternating rounds."
    )
