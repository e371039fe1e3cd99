"""Validation of the JSON schemas of tool parameters, as far as a provider would reject them.

An invalid schema is rejected when the chat is created, with the place of the mistake, rather than by the
provider in the middle of a turn. Unknown keywords pass, since providers differ in what they support.
"""

from collections.abc import Iterator
from typing import Any

_TYPE_NAMES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_SCHEMA_KEYWORDS = frozenset(
    {
        "items",
        "additionalProperties",
        "contains",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
    }
)
_SCHEMA_LIST_KEYWORDS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMA_MAP_KEYWORDS = frozenset({"properties", "patternProperties", "$defs", "definitions"})

_Path = tuple[str, ...]


def validate_tool_parameters(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a tool's parameters. Raises ValueError that names the place of a mistake."""
    if schema.get("type") != "object":
        raise _schema_error(("type",), 'must be "object"')
    _check_schema(schema, ())
    return schema


def _check_schema(schema: object, path: _Path) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _schema_error(
            path or ("schema",), "must be a schema, which is an object or a boolean"
        )
    for key, value in schema.items():
        if key == "type":
            _check_types(value, (*path, key))
        elif key == "required":
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise _schema_error((*path, key), "must be a list of names")
        elif key == "enum":
            if not isinstance(value, list):
                raise _schema_error((*path, key), "must be a list of values")
        else:
            for inner_path, inner in _subschemas(key, value, path):
                _check_schema(inner, inner_path)


def _check_types(types: object, path: _Path) -> None:
    for name in types if isinstance(types, list) else [types]:
        if not isinstance(name, str) or name not in _TYPE_NAMES:
            raise _schema_error(path, f"must be of {', '.join(sorted(_TYPE_NAMES))}")


def _subschemas(key: str, value: object, path: _Path) -> Iterator[tuple[_Path, object]]:
    """Yield the schemas in the value of a keyword, each with its place."""
    if key in _SCHEMA_KEYWORDS:
        yield (*path, key), value
    elif key in _SCHEMA_LIST_KEYWORDS:
        if not isinstance(value, list):
            raise _schema_error((*path, key), "must be a list of schemas")
        for index, inner in enumerate(value):
            yield (*path, key, str(index)), inner
    elif key in _SCHEMA_MAP_KEYWORDS:
        if not isinstance(value, dict):
            raise _schema_error((*path, key), "must be an object of schemas")
        for name, inner in value.items():
            yield (*path, key, name), inner


def _schema_error(path: _Path, problem: str) -> ValueError:
    return ValueError(f"{'.'.join(path)}: {problem}")
