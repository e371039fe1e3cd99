"""Examples of schemas, made of the examples that stand beside the fields."""

from collections.abc import Mapping
from typing import Any

_BY_TYPE = {"string": "", "integer": 1, "number": 1.0, "boolean": False, "null": None}
_BY_FORMAT = {
    "date-time": "2026-03-01T09:30:02.480000Z",
    "uuid": "5bd0a6e5-6d3c-4a3e-9f0e-2f6f8c1d7a10",
}


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> object:
    """Return an example of ``schema``, which may refer to other ``schemas``.

    A field's own example comes first. A field that may be null is null without one, and a field that is
    not required is left out. Else the example follows from the type.
    """
    match schema:
        case {"examples": [example, *_]} | {"const": example} | {"enum": [example, *_]}:
            return example
        case {"$ref": str(reference)}:
            return example_of(schemas[reference.rpartition("/")[2]], schemas)
        case {"anyOf": [*alternatives]} | {"oneOf": [*alternatives]}:
            first = {"type": "null"} if {"type": "null"} in alternatives else alternatives[0]
            return example_of(first, schemas)
        case {"type": "object"}:
            return {
                name: example_of(field, schemas)
                for name, field in schema.get("properties", {}).items()
                if name in schema.get("required", ()) or "examples" in field
            }
        case {"type": "array", "items": items}:
            return [example_of(items, schemas)]
    return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE.get(schema.get("type", "")))
