"""Answer to a question with a schema, typed field by field. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

_MAX_OPTIONS = 20
"""Choices that a question shows. Others can be typed."""


class InputForm:
    """Fields of a JSON schema, asked one after the other.

    A schema that is no object of named properties is one field, which is the whole answer.
    """

    def __init__(self, title: str, schema: Mapping[str, Any] | None) -> None:
        self._title = title
        properties = (schema or {}).get("properties")
        self._named = isinstance(properties, dict) and bool(properties)
        self._fields: list[tuple[str, Mapping[str, Any]]] = (
            [(name, of if isinstance(of, dict) else {}) for name, of in properties.items()]
            if isinstance(properties, dict) and properties
            else [("", schema or {})]
        )
        required = (schema or {}).get("required")
        self._required = set(required) if isinstance(required, list) else set()
        self._values: dict[str, Any] = {}
        self._next = 0

    @property
    def complete(self) -> bool:
        """True once all fields are answered."""
        return self._next >= len(self._fields)

    @property
    def content(self) -> Any:
        """The answer: an object of the fields, or the value of the only one."""
        return self._values if self._named else self._values.get("")

    def lines(self) -> list[str]:
        """Return the question, the current field, its choices, and what may be typed."""
        name, field = self._fields[min(self._next, len(self._fields) - 1)]
        lines = [self._title]
        if len(self._fields) > 1 or field.get("description"):
            label = str(field.get("title") or name)
            lines.append(": ".join(filter(None, (label, str(field.get("description") or "")))))
        choices = _choices(field)
        lines += [f"{number} {choice}" for number, choice in enumerate(choices, 1)]
        lines.append(self._hint(name, field, choices))
        return lines

    def take(self, line: str) -> str | None:
        """Take a line as the value of the current field. Return what is wrong with it, if anything."""
        name, field = self._fields[self._next]
        if not line and self._named and name not in self._required:
            self._next += 1
            return None
        try:
            self._values[name] = _value(line, field)
        except ValueError as error:
            return str(error)
        self._next += 1
        return None

    def _hint(self, name: str, field: Mapping[str, Any], choices: list[Any]) -> str:
        words = {"boolean": "y or n", "integer": "a number", "number": "a number"}
        kind = _type_of(field)
        hint = words.get(kind, "")
        if choices and kind == "array":
            hint = "one or more numbers"
        elif choices:
            hint = (
                "a number or an answer" if kind == "string" and "enum" not in field else "a number"
            )
        optional = self._named and name not in self._required
        skip = "   Enter: none" if optional else ""
        return f"Type {hint or 'an answer'}{skip}   /decline: no answer"


def _choices(field: Mapping[str, Any]) -> list[Any]:
    """Return the values that a field may have, or examples of them: of a list, those of its items."""
    items = field.get("items")
    if _type_of(field) == "array" and isinstance(items, dict):
        return _choices({**items, "type": "string"})
    values = field.get("enum") or field.get("examples") or []
    named = field.get("oneOf") or field.get("anyOf") or []
    if isinstance(named, list):
        titled = [one for one in named if isinstance(one, dict) and "const" in one]
        values = [one["const"] for one in titled] or values
    return values[:_MAX_OPTIONS] if isinstance(values, list) else []


def _several(line: str, choices: Sequence[Any]) -> list[Any]:
    """Return the choices of which a line has the numbers."""
    numbers = line.replace(",", " ").split()
    if not numbers or not all(
        number.isdecimal() and 1 <= int(number) <= len(choices) for number in numbers
    ):
        raise ValueError("Type numbers of choices, such as: 1 2")
    return [choices[number - 1] for number in sorted({int(number) for number in numbers})]


def _type_of(field: Mapping[str, Any]) -> str:
    """Return the type of a field. A schema is written by others, so it may hold anything."""
    kind = field.get("type", "string")
    return kind if isinstance(kind, str) else "any"


def _number(line: str, *, whole: bool) -> float:
    try:
        number = int(line) if whole else float(line)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("Type a number.")
    return number


def _value(line: str, field: Mapping[str, Any]) -> Any:
    """Return the value that a line stands for. Raises ``ValueError`` with words for a person."""
    choices = _choices(field)
    if choices and _type_of(field) == "array":
        return _several(line, choices)
    if line.isdecimal() and 1 <= int(line) <= len(choices):
        return choices[int(line) - 1]
    kind = _type_of(field)
    if kind == "boolean":
        words = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}
        if line.lower() not in words:
            raise ValueError("Type y or n.")
        return words[line.lower()]
    if kind in {"integer", "number"}:
        return _number(line, whole=kind == "integer")
    if kind == "string":
        if not line:
            raise ValueError("Type an answer.")
        if "enum" in field and line not in choices:
            raise ValueError("Type the number of one of the choices.")
        return line
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("Type a value as JSON.") from None
