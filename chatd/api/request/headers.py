"""The request headers of this API, their rules, and how to read one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from starlette.types import Scope

from chatd.api.auth.acting import OWNER_HEADER
from chatd.api.errors.problems import FieldProblem, HttpProblem, invalid_request
from chatd.api.schema.types import MAX_CURSOR_LENGTH
from chatd.api.scope import header_values
from chatd.domain.owner import MAX_OWNER_LENGTH, OWNER_PATTERN

_MAX_CHARACTER_BYTES = 4
"""Bytes of a character in UTF-8."""


@dataclass(frozen=True, slots=True)
class Header:
    """A request header: its name in lower case, its purpose, and its values as a JSON schema."""

    name: str
    description: str
    schema: Mapping[str, Any]

    def parameter(self) -> dict[str, Any]:
        """Return the OpenAPI parameter of this header."""
        return {"in": "header", "required": False, **asdict(self)}


OWNER = Header(
    OWNER_HEADER,
    "The owner to act for: the request is as if they had made it. To name another owner than the token's "
    "takes the scope `act-for`.",
    {"type": "string", "minLength": 1, "maxLength": MAX_OWNER_LENGTH, "pattern": OWNER_PATTERN},
)
IDEMPOTENCY_KEY = Header(
    "idempotency-key",
    "A unique name for this request that you choose, such as a UUID. A repetition with the same key and "
    "body changes nothing and gets a response with the same status and ids.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
)
LAST_EVENT_ID = Header(
    "last-event-id",
    "The id of the last event you have, as browsers send it. It takes precedence over `after`.",
    {"type": "string", "maxLength": MAX_CURSOR_LENGTH},
)


def header_value(scope: Scope, header: Header) -> str | None:
    """Return the header's value, decoded as ISO 8859-1.

    Raises ``HttpProblem`` if there are several, or if it is longer than the header may be in UTF-8.
    """
    values = header_values(scope, header.name.encode())
    if len(values) > 1:
        raise invalid_header(header, "it is there more than once")
    if values and len(values[0]) > _MAX_CHARACTER_BYTES * header.schema["maxLength"]:
        raise invalid_header(header, f"it is longer than {header.schema['maxLength']} characters")
    return values[0].decode("latin-1") if values else None


def invalid_header(header: Header, reason: str) -> HttpProblem:
    """Return the 422 for a header that breaks its rules."""
    return invalid_request(FieldProblem(where=f"header.{header.name}", message=reason))
