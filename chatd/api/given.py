"""What callers give: strings that can be kept, and JSON of their own that has an end."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from chatd.domain.failure import replace_unstorable

DEEPEST = 64
"""How deep JSON of a caller's own may be nested: it is walked here, and by the database."""


def _fit(given: object) -> object:
    return replace_unstorable(given) if isinstance(given, str) else given


Fit = BeforeValidator(_fit)
"""JSON can spell strings that are no Unicode; a string's constraints would refuse them."""

Words = Annotated[str, StringConstraints(min_length=1), Fit]


def _has_an_end(given: object) -> object:
    level = [given]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return given
    raise ValueError(f"must not be nested more than {DEEPEST} deep")


Json = Annotated[Any, AfterValidator(_has_an_end)]
"""Any JSON value."""
