"""Figures for people and for machines."""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatd.bench.figures import Figure, Section

_NARROWEST = 150
"""Columns of a table that goes to a file or a pipe."""
_MOST_DETAILS = 8


def as_json(head: dict[str, Any], sections: Sequence[Section]) -> str:
    """Everything, for a machine."""
    measures = [
        {
            "name": section.name,
            "seconds": round(section.seconds, 2),
            "broken": section.broken,
            "figures": [figure.as_json() for figure in section.figures],
        }
        for section in sections
    ]
    return json.dumps(head | {"measures": measures}, indent=2)


def show(head: dict[str, Any], sections: Sequence[Section]) -> None:
    """A table for each measure; below figures that mean the same stands what that is."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_NARROWEST)
    for section in sections:
        console.print(f"\n[bold]{section.title}[/bold]  [dim]--only {section.name}[/dim]")
        if section.broken:
            console.print(Text(f"  could not be measured: {section.broken}", style="red"))
        for says, figures in groupby(section.figures, key=lambda figure: figure.says):
            console.print(_table(list(figures)))
            console.print(Text(f"  {says}", style="dim"))
    console.print(f"\n[dim]{_foot(head)}[/dim]")


def _table(figures: Sequence[Figure]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(width=38)
    table.add_column(width=15, justify="right", style="bold")
    for width in (12, 6):
        table.add_column(width=width, justify="right")
    table.add_column(width=15)
    table.add_column(style="dim", ratio=1)
    for figure in figures:
        details = list(figure.detail.items())[:_MOST_DETAILS]
        table.add_row(
            f"  {figure.title}",
            f"{number(figure.value)} {figure.unit}",
            "" if figure.floor is None else f"floor {number(figure.floor)}",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            _asked(figure),
            " · ".join(f"{name} {number(value)}" for name, value in details),
        )
    return table


def _asked(figure: Figure) -> Text:
    if figure.required is None:
        return Text("")
    mark, style = ("✓", "green") if figure.ok else ("✗", "bold red")
    sign = " floors" if figure.required.of == "ratio" else ""
    return Text(f"{figure.required.sense} {figure.required.bound:g}{sign} {mark}", style=style)


def number(value: float) -> str:
    """Three digits that mean something."""
    if value == 0:
        return "0"
    if abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _foot(head: dict[str, Any]) -> str:
    return (
        f"chatd {head['chatd']} · Python {head['python']} · {head['server']} · {head['cores']} cores, "
        f"load {head['load_before']:.1f} before and {head['load_after']:.1f} after · "
        f"{head['seconds']:.0f} s{' · quick' if head['quick'] else ''}. "
        "The floor is the same work without chatd, measured in alternating rounds."
    )
