"""Examples of schemas, made of the examples that stand beside the fields."""

from collections.abc import Iterator, Mapping
from typing import Any

_BY_FORMAT = {
    "date-time": "2026-03-01T09:30:02.480000Z",
    "uuid": "5bd0a6e5-6d3c-4a3e-9f0e-2f6f8c1d7a10",
}
_BY_TYPE = {"string": "", "integer": 1, "number": 1.0, "boolean": False, "null": None}


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> object:
    """Return an example of ``schema``, which may refer to other ``schemas``.

    A field's own example comes first. A field that may be null is null without one, and a field that is
    not required is left out. Else the example follows from the type.
    """
    for stated in _stated(schema):
        return stated
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for alternatives in (schema.get("anyOf"), schema.get("oneOf")):
        if alternatives:
            return (
                None if {"type": "null"} in alternatives else example_of(alternatives[0], schemas)
            )
    match schema.get("type"):
        case "object":
            return {
                name: example_of(field, schemas)
                for name, field in schema.get("properties", {}).items()
                if name in schema.get("required", ()) or any(True for _ in _stated(field))
            }
        case "array":
            return [example_of(schema["items"], schemas)]
        case kind:
            return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE.get(kind or ""))


def _stated(schema: Mapping[str, Any]) -> Iterator[object]:
    """Yield what the schema itself gives as an example, or allows as its only or first value."""
    yield from schema.get("examples", ())
    for alternative in schema.get("anyOf", ()):
        yield from alternative.get("examples", ())
    if "const" in schema:
        yield schema["const"]
    yield from schema.get("enum", ())
