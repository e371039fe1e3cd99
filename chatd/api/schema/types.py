"""Types of values that callers send: strings that can be stored, bounded JSON, titles and labels.

Every list, map and string has a bound. ``http.max_body_bytes`` and ``[limits]`` are the bounds that
operators choose. Those here are far above what anybody needs, and keep one request from costing what
others need. Their lengths are in characters.
"""

import math
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from chatd.domain.sanitize import replace_unstorable

MAX_JSON_DEPTH = 64
"""Maximum nesting of a caller's JSON. It is walked here, and again by PostgreSQL."""

MAX_JSON_VALUES = 20_000
"""Maximum values in the JSON of one body. To check and store so many takes about 50 ms."""

MAX_BIGINT = 2**63 - 1
"""The largest PostgreSQL bigint."""

MAX_TITLE_LENGTH = 500
MAX_LABELS_LENGTH = 16_384
"""Names and values of one chat's labels together. A page has those of 200 chats."""
MAX_TEXT_LENGTH = 16 * 1024 * 1024
"""A text that a model reads. No model takes as much."""
MAX_ITEMS = 1_000
"""Parts, tools, labels or results of one request. Each invalid one costs a message about it."""
MAX_CURSOR_LENGTH = 255
"""Cursors of this API are shorter."""
_MAX_FIELDS = 100
"""Fields of one object. No object has as many, and each unknown one costs a message about it."""


def _sanitize(value: object) -> object:
    return replace_unstorable(value) if isinstance(value, str) else value


Sanitized = BeforeValidator(_sanitize)
"""Replaces what cannot be stored. JSON may spell strings that are not Unicode, which constraints reject."""


Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_LENGTH), Sanitized]
ModelName = Annotated[str, StringConstraints(max_length=200), Sanitized]
ToolCallId = Annotated[str, StringConstraints(min_length=1, max_length=200), Sanitized]
"""The worker stores ids of tool calls in no more characters."""
Title = Annotated[str, StringConstraints(max_length=MAX_TITLE_LENGTH), Sanitized]


def _check_label_name(name: str) -> str:
    if ":" in name:
        raise ValueError("must not have a colon, at which filters end a name")
    return name


_MAX_LABEL_NAME_LENGTH = 200
LabelName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=_MAX_LABEL_NAME_LENGTH),
    AfterValidator(_check_label_name),
    Sanitized,
]
LabelValue = Annotated[str, StringConstraints(max_length=1000), Sanitized]


def _check_number_of_items(items: object) -> object:
    if isinstance(items, dict | list) and len(items) > MAX_ITEMS:
        raise ValueError(f"must not have more than {MAX_ITEMS} items")
    return items


FewItems = BeforeValidator(_check_number_of_items)
"""Refuses a list or map of more than ``MAX_ITEMS`` before any of its items is looked at."""


def _check_length_of_labels(labels: dict[str, str]) -> dict[str, str]:
    if sum(len(name) + len(value) for name, value in labels.items()) > MAX_LABELS_LENGTH:
        raise ValueError(
            f"names and values together must not have more than {MAX_LABELS_LENGTH} characters"
        )
    return labels


Labels = Annotated[
    dict[LabelName, LabelValue],
    Field(
        description=f"Names and values together have at most {MAX_LABELS_LENGTH} characters.",
        max_length=MAX_ITEMS,
        # Pydantic would make a pattern of the names one of the properties, and allow all others.
        json_schema_extra={
            "propertyNames": {
                "minLength": 1,
                "maxLength": _MAX_LABEL_NAME_LENGTH,
                "pattern": "^[^:]+$",
            }
        },
    ),
    FewItems,
    AfterValidator(_check_length_of_labels),
]

JSON_BOUNDS = {"x-maxValues": MAX_JSON_VALUES, "x-maxDepth": MAX_JSON_DEPTH}
"""Bounds of a caller's own JSON, which JSON schema has no words for. ``json_bounds`` holds them."""


def _check_finite(value: object) -> object:
    pending = [value]
    while pending:
        match pending.pop():
            case float(number) if not math.isfinite(number):
                raise ValueError("must not have NaN, an infinity, or a number beyond 1.8e308")
            case dict(members):
                pending.extend(members.values())
            case list(items):
                pending.extend(items)
    return value


JsonValue = Annotated[Any, Field(json_schema_extra=JSON_BOUNDS), AfterValidator(_check_finite)]
"""Any JSON value. Python's reader takes numbers that JSON has not, and PostgreSQL stores none of them."""


class RequestModel(BaseModel):
    """Base class of the objects that callers send. Unknown fields are refused, and very many unread."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_number_of_fields(cls, value: object) -> object:
        if isinstance(value, dict) and len(value) > _MAX_FIELDS:
            raise ValueError(f"must not have more than {_MAX_FIELDS} fields")
        return value
