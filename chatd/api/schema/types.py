"""Types of values that callers send: strings that can be stored, bounded JSON, titles and labels."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from chatd.domain.sanitize import replace_unstorable

MAX_JSON_DEPTH = 64
"""Maximum nesting of a caller's JSON. It is walked here, and again by PostgreSQL."""

MAX_BIGINT = 2**63 - 1
"""The largest PostgreSQL bigint."""

MAX_TITLE_LENGTH = 500


def _sanitize(value: object) -> object:
    return replace_unstorable(value) if isinstance(value, str) else value


Sanitized = BeforeValidator(_sanitize)
"""Replaces what cannot be stored. JSON may spell strings that are not Unicode, which constraints reject."""

NonEmptyStr = Annotated[str, StringConstraints(min_length=1), Sanitized]
Title = Annotated[str, StringConstraints(max_length=MAX_TITLE_LENGTH), Sanitized]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=200), Sanitized]
LabelValue = Annotated[str, StringConstraints(max_length=1000), Sanitized]
Labels = dict[LabelName, LabelValue]


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
