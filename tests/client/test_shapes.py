"""The client's types say what the API's document says, and those who use it get them."""

from collections.abc import Callable, Iterator
from importlib.resources import files
from types import UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pytest
from support.openapi_conformance import SCHEMA_REF_PREFIX, document

from chatd.client import events, types

SCHEMAS = document()["components"]["schemas"]
SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean"}
NULL = {"type": "null"}
RENAMED = {
    "JournalEntry": "Entry",
    "ToolResult": "GivenResult",
    "ToolCall": "OpenCall",
    "StatusData": "StatusChange",
    "QueueData": "QueueChange",
    "RetryData": "RetrySoon",
    "FailureData": "TurnError",
    "DescriptionData": "Described",
    "ActionData": "ActionRequired",
    "SnapshotData": "ChatSnapshot",
    "HistoryResetData": "HistoryReset",
    "IdData": "Gone",
    "ReasonData": "Reason",
    "ChatsData": "ChatList",
}
"""Names that say more to who writes a client."""
JOINED = ("Part", "Fragment")
"""Shapes that are several schemas at once, whose names end so; ``type`` tells them apart."""
ALL = {
    name: shape
    for room in (types, events)
    for name, shape in vars(room).items()
    if is_typeddict(shape)
}


def unlike(hint: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    """Where a type and a schema of the document differ. ``Any`` promises nothing."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].removeprefix(SCHEMA_REF_PREFIX)]
    if rule := BY_ORIGIN.get(get_origin(hint)):
        yield from rule(get_args(hint), schema, at)
    elif getattr(hint, "__name__", "") in JOINED:
        yield from unlike_all_of(hint, schema.get("oneOf", []), at)
    elif is_typeddict(hint):
        yield from unlike_object(hint, schema, at)
    elif hint is not Any and SIMPLE[hint] != schema.get("type"):
        yield f"{at}: {hint} is not {schema}"


def unlike_nullable(inner: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    (hint,) = (one for one in inner if one is not type(None))
    match [one for one in schema.get("anyOf", ()) if one != NULL]:
        case [left] if NULL in schema["anyOf"]:
            yield from unlike(hint, left, at)
        case _:
            yield f"{at}: not nullable"


def unlike_literal(inner: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    """The document may leave a vocabulary open, but it has no other one."""
    if schema.get("type") != "string" or {*inner} != {*schema.get("enum", inner)}:
        yield f"{at}: {inner} is not {schema}"


def unlike_list(inner: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    if schema.get("type") != "array":
        yield f"{at}: no list"
    yield from unlike(inner[0], schema.get("items", {}), f"{at}[]")


def unlike_dict(inner: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    if schema.get("type") != "object":
        yield f"{at}: no object"
    values = schema.get("additionalProperties")
    keys = {"type": "string", **schema.get("propertyNames", {})}
    yield from unlike(inner[0], keys, f"{at} (key)")
    yield from unlike(inner[1], values if isinstance(values, dict) else {}, f"{at}.*")


BY_ORIGIN: dict[Any, Callable[[Any, dict[str, Any], str], Iterator[str]]] = {
    NotRequired: lambda inner, schema, at: unlike(inner[0], schema, at),
    Union: unlike_nullable,
    UnionType: unlike_nullable,
    Literal: unlike_literal,
    list: unlike_list,
    dict: unlike_dict,
}


def unlike_object(shape: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    properties, hints = schema.get("properties", {}), get_type_hints(shape, include_extras=True)
    for name in hints.keys() ^ properties.keys():
        yield f"{at}.{name}: in one of them only"
    for name in {*shape.__required_keys__} ^ {*schema.get("required", ())}:
        yield f"{at}.{name}: required in one of them only"
    for name in hints.keys() & properties.keys():
        yield from unlike(hints[name], properties[name], f"{at}.{name}")


def unlike_all_of(shape: Any, schemas: list[dict[str, Any]], at: str) -> Iterator[str]:
    """One shape that knows every key of them all, and every ``type``."""
    found = [SCHEMAS[one["$ref"].removeprefix(SCHEMA_REF_PREFIX)]["properties"] for one in schemas]
    hints = get_type_hints(shape)
    for kind in {one["type"]["const"] for one in found} - {*get_args(hints["type"])}:
        yield f"{at}.type: {kind} is not there"
    for name in {name for one in found for name in one} - hints.keys():
        yield f"{at}.{name}: is not there"


@pytest.mark.parametrize("name", ALL)
def test_a_shape_is_what_the_document_says(name: str) -> None:
    if name in JOINED:
        of_them = sorted(one for one in SCHEMAS if one.endswith(name))
        schema: dict[str, Any] = {"oneOf": [{"$ref": SCHEMA_REF_PREFIX + one} for one in of_them]}
    else:
        schema = {"$ref": SCHEMA_REF_PREFIX + RENAMED.get(name, name)}
    assert list(unlike(ALL[name], schema, name)) == []


class Wrong(TypedDict):
    status: Literal["waiting", "gone"]
    version: str
    because: list[str]
    ahead: int
    owner: NotRequired[types.Activity | None]
    extra: int


def test_what_differs_is_found() -> None:
    names = ("status", "version", "reasons", "chats_ahead", "worker", "workers")
    properties = {name: SCHEMAS["Explanation"]["properties"][name] for name in names}
    schema = {"type": "object", "properties": properties, "required": [*names]}
    found = {one.partition(":")[0] for one in unlike(Wrong, schema, "x")}
    direct = {"status", "version", "because[]", "ahead", "owner", "extra", "workers"}
    inside = {*types.WorkerInfo.__required_keys__} ^ {*types.Activity.__required_keys__}
    assert found == {f"x.{name}" for name in direct} | {f"x.owner.{name}" for name in inside}


def test_type_checkers_are_told_that_there_are_types() -> None:
    """PEP 561: without this file a type checker takes everything of an installed chatd for Any."""
    assert (files("chatd") / "py.typed").is_file()
