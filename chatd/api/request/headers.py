"""The headers that this API knows, and how one is read.

They are read from the scope and not declared as FastAPI's parameters, which would cost more than the
rest of a route's way in. ``document`` describes them by the rules that stand here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from chatd.api.errors.problems import FieldProblem, HttpProblem, invalid_request
from chatd.api.scope import header_values
from chatd.domain.owner import MAX_OWNER_LENGTH, OWNER_PATTERN


@dataclass(frozen=True, slots=True)
class Header:
    """A header: its name in lower case, what it is for, and what it may say, as JSON schema has it."""

    name: str
    description: str
    schema: Mapping[str, Any]


OWNER = Header(
    "x-chatd-owner",
    "Owner that an admin acts for. Other callers may only name themselves.",
    {"type": "string", "minLength": 1, "maxLength": MAX_OWNER_LENGTH, "pattern": OWNER_PATTERN},
)
IDEMPOTENCY_KEY = Header(
    "idempotency-key",
    "Unique key of this request, such as a UUID. Repeating it with the same key and body changes "
    "nothing and returns the stored response.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
)
LAST_EVENT_ID = Header(
    "last-event-id",
    "Id of the last event received, as browsers send it. It takes precedence over `after`.",
    {"type": "string"},
)


def header_value(scope: Scope, header: Header) -> str | None:
    """What the header says, as it came (ISO 8859-1). Raises ``HttpProblem`` when it is there twice."""
    found = header_values(scope, header.name.encode())
    if len(found) > 1:
        raise invalid_header(header, "it is there more than once")
    return found[0].decode("latin-1") if found else None


def invalid_header(header: Header, reason: str) -> HttpProblem:
    """The refusal of a header."""
    return invalid_request(FieldProblem(where=f"header.{header.name}", message=reason))
