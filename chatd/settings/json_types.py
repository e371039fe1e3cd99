"""Types of lists and tables, which are JSON where there is only text."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator

from chatd.domain.sanitize import replace_unstorable
from chatd.settings.types import KeyPath

T = TypeVar("T")

_MAX_DEPTH = 32
"""Levels of lists and tables in one value, as many as a JSON schema of a response format may need."""
_TOO_DEEP = f"is nested too deep: it may have {_MAX_DEPTH} levels"


def _parse_json(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        except ValueError:
            reason = "must be a list or a table (as JSON, where there is only text)"
            raise ValueError(reason) from None
    for path, _ in _walk(value):
        if len(path) > _MAX_DEPTH:
            raise ValueError(_TOO_DEEP)
    return value


def _check_json(value: Any) -> Any:
    for path, inner in _walk(value):
        key = ".".join(path)
        match inner:
            case float() if not math.isfinite(inner):
                raise ValueError(f"{key} must be a finite number")
            case None | bool() | int() | float() | dict() | list():
                text = key
            case str():
                text = key + inner
            case _:
                raise ValueError(f"{key} must be text, a number, true, false, a list or a table")
        if replace_unstorable(text) != text:
            raise ValueError(f"{key} must not have NUL or half of a surrogate pair")
    return value


def _walk(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value in a value with its path, down to one level more than are allowed."""
    yield path, value
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value)
    for key, inner in items if len(path) <= _MAX_DEPTH else ():
        yield from _walk(inner, (*path, str(key)))


MaybeJson = Annotated[T, BeforeValidator(_parse_json)]
"""List or table that is JSON in a variable and in the file of a secret, which hold only text."""
JsonTable = Annotated[MaybeJson[dict[str, Any]], AfterValidator(_check_json)]
"""Table that can be sent and stored as JSON."""
