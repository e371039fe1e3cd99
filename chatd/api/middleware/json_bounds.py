"""Bounds on the JSON of a body, checked on its bytes before anything is built from it.

A body of 4 MB may hold millions of values. To build and validate them takes seconds and gigabytes, and
both are the event loop's and the process's own.
"""

import json
from typing import Final

from chatd.api.schema.types import MAX_JSON_DEPTH, MAX_JSON_VALUES

MAX_DEPTH: Final = MAX_JSON_DEPTH + 4
"""The caller's own JSON lies four levels deep at most, as in ``body.results[0].result``."""

_MAX_STRUCTURE_BYTES: Final = 1024 * 1024
"""Bytes outside of strings, white space aside: 50 bytes for each value. Only long numbers take more.

A number of 4,000 digits takes 80 µs to read, and as long to write.
"""
_STRINGS_PER_VALUE: Final = 2
"""A member of an object is a name and a value."""
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_WHITE_SPACE: Final = b" \t\r\n"
_ENCODINGS: Final = frozenset({"utf-8", "utf-8-sig"})


def json_refusal(body: bytes) -> str | None:
    """Return why a JSON body is refused, or None if it may be parsed.

    The counts are exact for JSON. Of anything else they are some number, and the parser refuses it.
    """
    if (
        len(body) <= _MAX_STRUCTURE_BYTES
        and _count_values(body) <= MAX_JSON_VALUES
        and _count_openings(body) <= MAX_DEPTH
    ):
        return None  # also if all of it were outside of strings
    if json.detect_encoding(body) not in _ENCODINGS:
        return "JSON must be in UTF-8"
    structure = _without_strings(body)
    if structure is None or _count_values(structure) > MAX_JSON_VALUES:
        return f"must not hold more than {MAX_JSON_VALUES} values"
    if len(structure.translate(None, _WHITE_SPACE)) > _MAX_STRUCTURE_BYTES:
        return f"must not have numbers of more than {_MAX_STRUCTURE_BYTES} digits together"
    if _depth(structure) > MAX_DEPTH:
        return f"must not be nested more than {MAX_JSON_DEPTH} deep"
    return None


def _count_openings(structure: bytes) -> int:
    return structure.count(b"[") + structure.count(b"{")


def _count_values(structure: bytes) -> int:
    """Return the number of values, empty lists and objects counted twice."""
    return 1 + structure.count(b",") + _count_openings(structure)


def _without_strings(body: bytes) -> bytes | None:
    """Return the body without the content of its strings. None: it has more than the values may have."""
    if b"\\" in body:  # only in strings, where a run of them is read from its start
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if body.count(b'"') > 2 * _STRINGS_PER_VALUE * MAX_JSON_VALUES:
        return None
    return b"".join(body.split(b'"')[::2])


def _depth(structure: bytes) -> int:
    depth = deepest = 0
    for bracket in structure.translate(None, _ALL_BUT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
