"""Keys under which a request's scope carries values between layers, and readers of its headers."""

from collections.abc import Sequence
from typing import Final

from starlette.types import Scope

REQUEST_ID: Final = "chatd.request_id"
"""The request's id: ``str``."""

GRANT: Final = "chatd.grant"
"""The ``Grant`` of the caller, absent on public paths."""

IDENTITY: Final = "chatd.identity"
"""The ``Identity`` that the request acts with, absent on public paths."""

BODY_SIZE: Final = "chatd.body_size"
"""The bytes of the request's body, absent if it has none: ``int``."""

PROBLEM_CODE: Final = "chatd.problem_code"
"""The code of the problem in the response, if there is one."""

EXCHANGE: Final = "chatd.exchange"
"""The ``Exchange`` of the request with its response."""

CONNECTION: Final = "chatd.connection"
"""The ``Connection`` that the request came on."""

ADAPTER: Final = "chatd.adapter"
"""The ``Adapter`` whose path the request has, absent if it is the API's own."""

_HEADERS_BY_NAME: Final = "chatd.headers_by_name"
"""The values of each header: ``dict``. A dozen steps look for one each."""


def route_template(scope: Scope) -> str | None:
    """Return the template of the route's path. The path itself may contain anything."""
    path: str | None = getattr(scope.get("route"), "path", None)
    return path


def header_values(scope: Scope, name: bytes) -> Sequence[bytes]:
    """Return the values of all headers of this name."""
    by_name: dict[bytes, list[bytes]] = scope.get(_HEADERS_BY_NAME) or _read_headers(scope)
    return by_name.get(name, ())


def single_header(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of this header. None unless there is exactly one."""
    by_name: dict[bytes, list[bytes]] = scope.get(_HEADERS_BY_NAME) or _read_headers(scope)
    values = by_name.get(name)
    return values[0] if values is not None and len(values) == 1 else None


def add_header(scope: Scope, name: bytes, value: bytes) -> None:
    """Add a header to a request."""
    scope["headers"] = [*scope["headers"], (name, value)]
    scope.pop(_HEADERS_BY_NAME, None)


def _read_headers(scope: Scope) -> dict[bytes, list[bytes]]:
    by_name: dict[bytes, list[bytes]] = {}
    for header, value in scope["headers"]:
        by_name.setdefault(header, []).append(value)
    scope[_HEADERS_BY_NAME] = by_name
    return by_name
