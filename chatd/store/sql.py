"""Named queries: ``queries/<file>.sql``, sections opened by ``-- name: <verb>``.

Parameters have names too: ``:chat_id`` in the file becomes ``$1`` for PostgreSQL when the file is
loaded. A ``Query`` binds them from keyword arguments, so that adding a parameter to a statement
renumbers nothing. ``chat_columns(c)`` becomes the columns of ``c`` that a chat is read from.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from chatd.store.columns import CHAT_COLUMNS

_SECTION = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_TOKEN = re.compile(
    r"""(?x)
      --[^\n]* | '(?:''|[^'])*' | "(?:""|[^"])*" | ::   # nothing in these is a parameter
    | :(?P<name>[a-z_]\w*)
    | \bchat_columns\((?P<chat>\w+)\)
    | (?P<positional>\$\d+)
    """
)


class QueryError(Exception):
    """A query file is malformed, or a call does not match the parameters of its query."""


@dataclass(frozen=True, slots=True)
class Query:
    """One named query, as PostgreSQL takes it, and the names of its parameters in their order.

    The comments of the file stay in ``text``, with a first line that names the query and numbers its
    parameters: an operator sees them in ``pg_stat_activity``.
    """

    name: str
    text: str
    parameters: tuple[str, ...]

    def bind(self, **values: object) -> tuple[str, tuple[object, ...]]:
        """Return the text and the positional arguments for asyncpg.

        Raises ``QueryError`` unless ``values`` are exactly the parameters.
        """
        try:
            args = tuple([values[name] for name in self.parameters])
        except KeyError:
            args = ()
        if len(args) != len(self.parameters) or len(args) != len(values):
            self.check(values)
        return self.text, args

    def check(self, names: Collection[str]) -> None:
        """Raise ``QueryError`` unless ``names`` are exactly the parameters."""
        missing = [name for name in self.parameters if name not in names]
        unknown = [name for name in names if name not in self.parameters]
        problems = [
            f"{problem}: {', '.join(found)}"
            for problem, found in (("missing", missing), ("unknown", unknown))
            if found
        ]
        if problems:
            raise QueryError(f"Parameters of {self.name} are {' and '.join(problems)}.")


@cache
def load(file: str) -> Mapping[str, Query]:
    """Return the queries of one file by name. Raises ``QueryError`` when the file is malformed."""
    text = (resources.files(__package__) / "queries" / f"{file}.sql").read_text("utf-8")
    return parse(file, text)


def parse(file: str, text: str) -> Mapping[str, Query]:
    """Return the queries in the text of a file."""
    _, *sections = _SECTION.split(text)
    queries: dict[str, Query] = {}
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        if name in queries:
            raise QueryError(f"queries/{file}.sql has two queries named {name}.")
        queries[name] = _query(f"{file}.{name}", body.strip().removesuffix(";"))
    return MappingProxyType(queries)


def _query(name: str, body: str) -> Query:
    numbers: dict[str, int] = {}

    def numbered(token: re.Match[str]) -> str:
        if token["positional"]:
            raise QueryError(f"{name} has the positional parameter {token['positional']}.")
        if token["chat"]:
            return ", ".join(f"{token['chat']}.{column}" for column in CHAT_COLUMNS)
        if not token["name"]:
            return token[0]
        return f"${numbers.setdefault(token['name'], len(numbers) + 1)}"

    text = _TOKEN.sub(numbered, body)
    legend = ", ".join(f"${number} {parameter}" for parameter, number in numbers.items())
    return Query(name, f"-- {name}({legend})\n{text}", tuple(numbers))
