"""A rule about a request, and what the rules of all dialects share."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]
Check = Callable[[Body], Iterator[str]]

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, the documentation or report that says so, and its check."""

    name: str
    source: str
    check: Check


class RuleBook(list[Rule]):
    """The rules of one dialect, in the order in which they are written down."""

    def rule(self, source: str) -> Callable[[Check], Check]:
        """Add the decorated check as a rule."""

        def add(check: Check) -> Check:
            self.append(Rule(check.__name__, source, check))
            return check

        return add


def violations(body: Body, rules: Iterable[Rule]) -> list[str]:
    """Return every breach of the rules, each headed by the rule's name."""
    return [f"{rule.name}: {breach}" for rule in rules for breach in rule.check(body)]


def is_blank(text: object) -> bool:
    return not isinstance(text, str) or not text.strip()


def is_json_object(text: object) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return isinstance(json.loads(str(text), parse_constant=refuse), dict)
    except (ValueError, RecursionError):
        return False


def data_url(url: str) -> tuple[str, bytes]:
    """Return the media type and the bytes of a data URL."""
    head, _, data = url.partition(",")
    return head.removeprefix("data:").partition(";")[0], base64.b64decode(data, validate=True)


def tool_schema_breaches(name: object, schema: object) -> Iterator[str]:
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        yield f"tool name {name!r}"
    if not isinstance(schema, dict) or schema.get("type") != "object":
        yield f"schema of {name!r}"


def duplicates(values: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]
