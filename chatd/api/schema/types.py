"""What callers give: strings that can be kept, and JSON of their own that has an end."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from chatd.domain.sanitize import replace_unstorable

MAX_JSON_DEPTH = 64
"""How deep JSON of a caller's own may be nested: it is walked here, and by the database."""


def _sanitize(value: object) -> object:
    return replace_unstorable(value) if isinstance(value, str) else value


Sanitized = BeforeValidator(_sanitize)
"""JSON can spell strings that are no Unicode; a string's constraints would refuse them."""

NonEmptyStr = Annotated[str, StringConstraints(min_length=1), Sanitized]


def _check_depth(value: object) -> object:
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError(f"must not be nested more than {MAX_JSON_DEPTH} deep")


JsonValue = Annotated[Any, AfterValidator(_check_depth)]
"""Any JSON value."""
