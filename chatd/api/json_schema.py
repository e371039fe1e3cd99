"""Whether a JSON schema is one, as far as a model's vendor would stumble over it.

A schema that is wrong is refused when the chat is created, with the place of the mistake, rather than
by the vendor in the middle of a turn. Keywords that nobody here knows are let through: what a vendor
makes of them is its own affair.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions")


def checked_parameters(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a tool's parameters. Raises ValueError that names the place of the mistake."""
    if schema.get("type") != "object":
        raise _mistake("type", 'must be "object"')
    _check(schema, "")
    return schema


def _check(schema: object, where: str) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise _mistake(where or "schema", "must be a schema, which is an object or a boolean")
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise _mistake(_at(where, "type"), f"must be of {', '.join(sorted(_TYPES))}")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _mistake(_at(where, "required"), "must be a list of names")
    if not isinstance(schema.get("enum", []), list):
        raise _mistake(_at(where, "enum"), "must be a list of values")
    for place, inner in _inner(schema, where):
        _check(inner, place)


def _inner(schema: Mapping[str, Any], where: str) -> Iterator[tuple[str, object]]:
    for key in _ONE:
        if key in schema:
            yield _at(where, key), schema[key]
    for key in _SEVERAL:
        if not isinstance(schema.get(key, []), list):
            raise _mistake(_at(where, key), "must be a list of schemas")
        for n, one in enumerate(schema.get(key, [])):
            yield _at(where, key, str(n)), one
    for key in _NAMED:
        if not isinstance(schema.get(key, {}), Mapping):
            raise _mistake(_at(where, key), "must be an object of schemas")
        for name, one in schema.get(key, {}).items():
            yield _at(where, key, name), one


def _at(*steps: str) -> str:
    return ".".join(step for step in steps if step)


def _mistake(where: str, what: str) -> ValueError:
    return ValueError(f"{where}: {what}")
