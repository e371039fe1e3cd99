"""Validation of the JSON schemas of tool parameters, as far as a provider would reject them.

An invalid schema is rejected when the chat is created, with the place of the mistake, rather than by the
provider in the middle of a turn. Unknown keywords pass, since providers differ in what they support.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_TYPE_NAMES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_SCHEMA_KEYWORDS = (
    "items",
    "additionalProperties",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
)
_SCHEMA_LIST_KEYWORDS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAP_KEYWORDS = ("properties", "patternProperties", "$defs", "definitions")


def validate_tool_parameters(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a tool's parameters. Raises ValueError that names the place of a mistake."""
    if schema.get("type") != "object":
        raise _schema_error("type", 'must be "object"')
    _check_schema(schema, "")
    return schema


def _check_schema(schema: object, path: str) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise _schema_error(path or "schema", "must be a schema, which is an object or a boolean")
    types = schema.get("type", [])
    for name in types if isinstance(types, list) else [types]:
        if not isinstance(name, str) or name not in _TYPE_NAMES:
            raise _schema_error(
                _join_path(path, "type"), f"must be of {', '.join(sorted(_TYPE_NAMES))}"
            )
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _schema_error(_join_path(path, "required"), "must be a list of names")
    if not isinstance(schema.get("enum", []), list):
        raise _schema_error(_join_path(path, "enum"), "must be a list of values")
    for inner_path, inner in _subschemas(schema, path):
        _check_schema(inner, inner_path)


def _subschemas(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, object]]:
    for key in _SCHEMA_KEYWORDS:
        if key in schema:
            yield _join_path(path, key), schema[key]
    for key in _SCHEMA_LIST_KEYWORDS:
        if not isinstance(schema.get(key, []), list):
            raise _schema_error(_join_path(path, key), "must be a list of schemas")
        for index, inner in enumerate(schema.get(key, [])):
            yield _join_path(path, key, str(index)), inner
    for key in _SCHEMA_MAP_KEYWORDS:
        if not isinstance(schema.get(key, {}), Mapping):
            raise _schema_error(_join_path(path, key), "must be an object of schemas")
        for name, inner in schema.get(key, {}).items():
            yield _join_path(path, key, name), inner


def _join_path(*segments: str) -> str:
    return ".".join(filter(None, segments))


def _schema_error(path: str, problem: str) -> ValueError:
    return ValueError(f"{path}: {problem}")
