"""Named queries: ``queries/<file>.sql``, sections opened by ``-- name: <verb>``."""

import re
from functools import cache
from importlib import resources

_SECTION = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load(file: str) -> dict[str, str]:
    """The queries of one file, by name.

    The comments above a query stay with it: they show up in ``pg_stat_activity``, where somebody who
    wonders what a statement is for will read them.
    """
    text = (resources.files(__package__) / "queries" / f"{file}.sql").read_text("utf-8")
    _, *sections = _SECTION.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        if name in queries:
            raise ValueError(f"queries/{file}.sql has two queries named {name}")
        queries[name] = f"-- {file}.{name}\n{body.strip().removesuffix(';')}"
    return queries
