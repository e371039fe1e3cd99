"""Requests of the largest size allowed, in every shape, made from the OpenAPI document.

A *place* is somewhere in a body where a value goes. Each gets JSON of every shape that its kind may be
attacked with: many small items, one huge string, deep nesting, wide maps, unknown keys, wrong types.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chatd.api.openapi.examples import example_of
from chatd.api.schema.types import MAX_ITEMS, MAX_JSON_VALUES
from support.openapi_conformance import SCHEMA_REF_PREFIX, document, operations

_MARK = "@the place@"


@dataclass(frozen=True)
class OversizedRequest:
    """A request, and what it is, for the message of a failure."""

    name: str
    method: str
    path: str
    body: bytes | None


def _filled(opening: bytes, item: bytes, closing: bytes) -> Callable[[int], bytes]:
    """Return a shape: as many items as fit between the two."""
    return lambda size: (
        opening + item * ((size - len(opening) - len(closing)) // len(item)) + closing
    )


def _items(count: int, opening: bytes, item: bytes, closing: bytes) -> Callable[[int], bytes]:
    """Return a shape: so many items, of ``%d`` and a text that fills the size."""

    def shape(size: int) -> bytes:
        room = size // count - len(item) - 8
        items = [item % {b"n": n, b"text": b"a" * max(room, 0)} for n in range(count)]
        return opening + b",".join(items) + closing

    return shape


def _nested(opening: bytes, closing: bytes) -> Callable[[int], bytes]:
    return lambda size: (
        opening * (n := (size - 1) // (len(opening) + len(closing))) + b"1" + closing * n
    )


Shapes = Mapping[str, Callable[[int], bytes]]

_OF_STRINGS: Shapes = {
    "letters": _filled(b'"', b"a", b'"'),
    "letters of four bytes": _filled(b'"', "\N{GRINNING FACE}".encode(), b'"'),
    "escapes": _filled(b'"', b"\\ud83d\\ude00", b'"'),
    "quotation marks": _filled(b'"', b'\\"', b'"'),
    "empty objects": _filled(b"[{}", b",{}", b"]"),
}
_OF_STRUCTURES: Shapes = {
    "empty objects": _filled(b"[{}", b",{}", b"]"),
    "numbers": _filled(b"[0", b",0", b"]"),
    "empty strings": _filled(b'[""', b',""', b"]"),
    "long numbers": _filled(b"[0", b"," + b"9" * 4000, b"]"),
    "deep lists": _nested(b"[", b"]"),
    "deep objects": _nested(b'{"a":', b"}"),
    "many names": _items(250_000, b"{", b'"%(n)d":0', b"}"),
    "a long name": _filled(b'{"', b"a", b'":0}'),
    "a text": _filled(b'"', b"a", b'"'),
    # What may be parsed, as much as there may be of it:
    "as many parts": _items(MAX_ITEMS, b"[", b'{"type":"text","text":"%(text)s"}', b"]"),
    "as many unknown parts": _items(MAX_ITEMS, b"[", b'{"%(n)d":"%(text)s"}', b"]"),
    "as many values": _items(MAX_JSON_VALUES - 100, b"[", b'"%(text)s"', b"]"),
    "as many names": _items(MAX_JSON_VALUES - 100, b"{", b'"%(n)d%(text)s":0', b"}"),
    "as many schemas": _items(
        MAX_JSON_VALUES // 2 - 100,
        b'{"type":"object","properties":{',
        b'"%(n)d":{"description":"%(text)s"}',
        b"}}",
    ),
}
_OF_OBJECTS: Shapes = {
    shape: _OF_STRUCTURES[shape]
    for shape in ("numbers", "deep lists", "many names", "a long name", "as many names")
}
"""For objects with fields of their own, whose places get all others."""
_OF_WORDS: Shapes = {shape: _OF_STRINGS[shape] for shape in ("letters", "empty objects")}
"""For strings that are one of a few words."""


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    resolved: Mapping[str, Any] = document()["components"]["schemas"][
        reference.removeprefix(SCHEMA_REF_PREFIX)
    ]
    return resolved


def _places(schema: Mapping[str, Any], seen: set[str]) -> Iterator[tuple[str, Any, Shapes]]:
    """Yield each place: its name, a valid value with a mark there, and the shapes to put there.

    A schema that has a name of its own is entered once.
    """
    reference = schema.get("$ref", "")
    if reference in seen:
        return
    seen.update({reference} - {""})
    schema = _resolved(schema)
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    for alternative in alternatives:
        yield from _places(alternative, seen)
    kind = schema.get("type")
    if kind == "string":
        yield "", _MARK, _OF_WORDS if schema.keys() & {"const", "enum"} else _OF_STRINGS
    elif schema.get("additionalProperties") is False:
        yield "", _MARK, _OF_OBJECTS
    elif kind in {"array", "object"} or (kind is None and not alternatives):
        yield "", _MARK, _OF_STRUCTURES
    if kind == "array":
        for name, value, shapes in _places(schema["items"], seen):
            yield f"[]{name}", [value], shapes
    if kind == "object":
        yield from _places_of_members(schema, seen)


def _places_of_members(
    schema: Mapping[str, Any], seen: set[str]
) -> Iterator[tuple[str, Any, Shapes]]:
    example: Any = example_of(schema, document()["components"]["schemas"])
    required = {name: example[name] for name in schema.get("required", ()) if name in example}
    members = dict(schema.get("properties", {}))
    if isinstance(more := schema.get("additionalProperties"), dict):
        members["x"] = more
    for member, member_schema in members.items():
        for name, value, shapes in _places(member_schema, seen):
            yield f".{member}{name}", {**required, member: value}, shapes


class _Built(dict[Callable[[int], bytes], bytes]):
    """Values of one size, each built once: building them costs as much as refusing them does."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __missing__(self, shape: Callable[[int], bytes]) -> bytes:
        self[shape] = value = shape(self._size)
        return value


_AROUND = 2000
"""Bytes of a body around its place, at most."""


def oversized_bodies(size: int) -> Iterator[OversizedRequest]:
    """Yield requests whose bodies have about ``size`` bytes, of every operation that takes a body."""
    seen: set[str] = set()
    mark = json.dumps(_MARK).encode()
    values = _Built(size - _AROUND)
    for method, path, operation in operations():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for name, value, shapes in _places(content["schema"], seen):
                before, after = json.dumps(value).encode().split(mark)
                for shape, build in shapes.items():
                    body = before + values[build] + after
                    assert len(body) <= size
                    where = f"{method} {path}: {shape} at body{name}"
                    yield OversizedRequest(where, method.upper(), path, body)


def oversized_urls(size: int) -> Iterator[OversizedRequest]:
    """Yield requests whose URLs have about ``size`` characters, of every operation with parameters."""
    for method, path, operation in operations():
        if method != "get":
            continue
        names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
        for name in names:
            for shape, query in (
                ("letters", f"{name}={'a' * size}"),
                ("digits", f"{name}={'9' * size}"),
                ("repeated", f"{name}=a&" * (size // (len(name) + 3))),
            ):
                yield OversizedRequest(f"{path}: {shape} in {name}", "GET", f"{path}?{query}", None)
        if names:
            unknown = "&".join(f"{n}=" for n in range(size // 7))
            yield OversizedRequest(f"{path}: unknown", "GET", f"{path}?{unknown}", None)
