"""What a request carries through the layers: their keys in its scope, and how its headers are read."""

from typing import Final

from starlette.types import Scope

REQUEST_ID: Final = "chatd.request_id"
"""A request's id."""

GRANT: Final = "chatd.pass"
"""The ``Pass`` of its caller."""

PROBLEM_CODE: Final = "chatd.problem"
"""The code of the problem that it was answered with, if it was one."""


def route_template(scope: Scope) -> str | None:
    """The template of the path that was asked for: the path itself may hold anything."""
    path: str | None = getattr(scope.get("route"), "path", None)
    return path


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Every header of this name."""
    return [value for header, value in scope["headers"] if header == name]


def single_header(scope: Scope, name: bytes) -> bytes | None:
    """The header of this name; None unless it is there exactly once."""
    found = header_values(scope, name)
    return found[0] if len(found) == 1 else None
