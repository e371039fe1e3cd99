"""Forms that MCP servers ask a person to fill in: objects with fields of simple types.

A schema is made anew of the keywords that such a form may have, so that nothing else of a server is ever
evaluated: no reference, no pattern, no nesting.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from chatd.domain.sanitize import replace_unstorable_json
from chatd.tools.arguments import InvalidSchema, argument_check

MAX_FORM_BYTES: Final = 16 * 1024
"""Size of the schema of a form. It is part of a journal entry and of each snapshot."""

_SHOWN: Final = ("title", "description", "default")
_KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "boolean": _SHOWN,
    "integer": (*_SHOWN, "minimum", "maximum"),
    "number": (*_SHOWN, "minimum", "maximum"),
    "string": (*_SHOWN, "minLength", "maxLength", "format", "enum", "enumNames", "oneOf"),
    "array": (*_SHOWN, "minItems", "maxItems", "items"),
}
"""Keywords of the fields of each type."""


class Unaskable(Exception):
    """Nobody can be asked this. The message says why, in words."""


def form_schema(requested: Any) -> Mapping[str, Any]:
    """Return the schema of a form that a server asks for. Raise ``Unaskable``."""
    properties = requested.get("properties") if isinstance(requested, dict) else None
    if not isinstance(properties, dict) or len(properties) * 20 > MAX_FORM_BYTES:
        raise Unaskable("its form has no fields, or too many")
    schema = {
        "type": "object",
        "properties": {name: _field(field) for name, field in properties.items()},
        "required": [
            name for name in _strings(requested.get("required", [])) if name in properties
        ],
        "additionalProperties": False,
    }
    if len(json.dumps(schema)) > MAX_FORM_BYTES:
        raise Unaskable(f"its form has more than {MAX_FORM_BYTES // 1024} KiB")
    if replace_unstorable_json(schema) != schema:
        raise Unaskable("its form has characters that cannot be stored")
    try:
        argument_check(schema)
    except InvalidSchema:
        raise Unaskable("its form is no JSON schema") from None
    return schema


def _field(field: Any) -> dict[str, Any]:
    """Return the schema of one field."""
    kind = field.get("type") if isinstance(field, dict) else None
    if not isinstance(kind, str) or kind not in _KEYWORDS:
        raise Unaskable("its form has a field of a type that is not known here")
    made = {"type": kind, **{key: field[key] for key in _KEYWORDS[kind] if key in field}}
    if "oneOf" in made:
        made["oneOf"] = _choices(made["oneOf"])
    if kind == "array":
        made["items"] = _items(field.get("items"))
    return made


def _items(items: Any) -> dict[str, Any]:
    """Return the schema of the choices of which several may be chosen."""
    match items:
        case {"enum": values}:
            return {"type": "string", "enum": _strings(values)}
        case {"anyOf": named} | {"oneOf": named}:
            return {"anyOf": _choices(named)}
    raise Unaskable("its form has a list of something else than choices")


def _choices(named: Any) -> list[dict[str, str]]:
    choices = []
    for choice in named if isinstance(named, list) else [None]:
        match choice:
            case {"const": str(value), **more}:
                choices.append({"const": value, "title": str(more.get("title", value))})
            case _:
                raise Unaskable("its form has choices that are no texts")
    return choices


def _strings(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise Unaskable("its form has names or choices that are no texts")
    return values
