"""What commands print for programs. It stands apart, since it needs neither a client nor a database."""

import json
from typing import Annotated, Any

from cyclopts import Parameter

Json = Annotated[
    bool,
    Parameter(name="--json", show_default=False, help="Print JSON: one document, or one per line."),
]


def print_json(document: Any, *, compact: bool = False) -> None:
    """One document over several lines, or one of many, each on its own."""
    print(to_json(document, indent=None if compact else 2), flush=True)


def to_json(document: Any, *, indent: int | None = None) -> str:
    """Text that people can read, too; what JSON does not know is put as text."""
    return json.dumps(document, indent=indent, ensure_ascii=False, default=str)
