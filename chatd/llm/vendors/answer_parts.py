"""The parts of a stored answer that go back to a provider, and their state."""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from chatd.domain.message import NATIVE_PART_TYPES, PAUSED, Message, Part, is_json_object
from chatd.llm.vendors.history_rules import HistoryRules, ReasoningReplay

_WHOLE = frozenset({"stop", "tool_call", PAUSED})
"""Finish reasons of an answer that is whole. The state of any other answer is dropped."""
_ODD_NAME_CHARACTERS = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME_LENGTH = 64


class AnswerParts:
    """Selection of the parts of the answers of one history, from the first answer to the last.

    The provider's own state of a part goes back only if all of the answer does: reasoning leads to what
    follows it, and a text cites the results of native tools. Calls and results of native tools are such
    state: without it they are left out. ``native_tools`` are those that the request offers.
    """

    def __init__(
        self, *, provider: str, rules: HistoryRules, native_tools: Collection[str]
    ) -> None:
        self._provider = provider
        self._rules = rules
        self._native_tools = native_tools
        self._item_ids: set[str] = set()
        self._native_calls: set[str] = set()
        self._unanswered: set[str] = set()
        """Native calls whose results may come with the next answer: since the user last said something."""

    def select(self, message: Message, *, current: bool) -> list[Part]:
        """Return the parts that go back. The ``current`` answers are those of the last user message."""
        parts = [
            _without_foreign_state(part, provider=self._provider)
            for part in message.content
            if part["type"] != "text" or part["text"].strip()
        ]
        reasoning = self._rules.reasoning
        if reasoning is ReasoningReplay.OF_TOOL_CALLS:
            sends_reasoning = current and any(part["type"] == "tool-call" for part in parts)
        else:
            sends_reasoning = reasoning is ReasoningReplay.SIGNED and _is_signed(parts)
        loses_state = not sends_reasoning and reasoning is ReasoningReplay.SIGNED
        if message.finish_reason not in _WHOLE or loses_state or not self._takes(parts):
            parts = _without_states(parts)
        kept = [
            _fitting_call(part) if part["type"] == "tool-call" else part
            for part in parts
            if part["type"] in {"text", "tool-call", *NATIVE_PART_TYPES}
            or (part["type"] == "reasoning" and sends_reasoning and part.get("provider"))
        ]
        while kept and kept[-1]["type"] == "reasoning":
            kept.pop()
        self._record(kept)
        return kept

    def _takes(self, parts: Sequence[Part]) -> bool:
        """Return True if the provider takes the ids of an answer, and its native calls and results."""
        if self._rules.unique_item_ids and self._item_ids & _ids(parts):
            return False
        native = [part for part in parts if part["type"] in NATIVE_PART_TYPES]
        if not all(
            part.get("provider") and part["tool_name"] in self._native_tools for part in native
        ):
            return False
        seen, unanswered = set(self._native_calls), set(self._unanswered)
        for part in native:
            id_ = part["provider"]["id"]
            if part["type"] == "native-tool-call":
                if id_ in seen or not self._takes_native_call(part):
                    return False
                seen.add(id_)
                unanswered.add(id_)
            elif id_ not in unanswered:
                return False
            else:
                unanswered.remove(id_)
        return True

    def _takes_native_call(self, part: Part) -> bool:
        args = part.get("args") or "{}"
        needed = self._rules.native_call_fields.get(part["tool_name"])
        return is_json_object(args) and (needed is None or bool(json.loads(args).get(needed)))

    def drop_unanswered(self, parts: list[Part]) -> None:
        """Take the native calls at the end of an answer away that get no result, and their reasoning."""
        while parts and (parts[-1]["type"] == "reasoning" or _ids(parts[-1:]) & self._unanswered):
            parts.pop()

    def end_turn(self) -> None:
        """Record that the user says something: what has no result by then never gets one."""
        self._unanswered.clear()

    def _record(self, parts: Sequence[Part]) -> None:
        calls = _ids(part for part in parts if part["type"] == "native-tool-call")
        self._item_ids |= _ids(parts)
        self._native_calls |= calls
        self._unanswered |= calls
        self._unanswered -= _ids(part for part in parts if part["type"] == "native-tool-result")


def _without_foreign_state(part: Part, *, provider: str) -> Part:
    state: Mapping[str, Any] = part.get("provider") or {}
    return part if not state or state.get("name") == provider else _without_state(part)


def _without_state(part: Part) -> Part:
    return {key: value for key, value in part.items() if key != "provider"}


def _without_states(parts: Sequence[Part]) -> list[Part]:
    """Return the parts without state, and without those that are nothing else."""
    return [_without_state(part) for part in parts if part["type"] not in NATIVE_PART_TYPES]


def _ids(parts: Iterable[Part]) -> set[str]:
    return {id_ for part in parts if (id_ := (part.get("provider") or {}).get("id"))}


def _is_signed(parts: Sequence[Part]) -> bool:
    """Return True if all reasoning is signed. OpenAI's is with the first part of an item."""
    reasoning = [part for part in parts if part["type"] == "reasoning"]

    def item(part: Part) -> str:
        return (part.get("provider") or {}).get("id") or f"at {id(part)}"

    return all(
        (next(group).get("provider") or {}).get("signature")
        for _, group in groupby(reasoning, item)
    )


def _fitting_call(part: Part) -> Part:
    name = _ODD_NAME_CHARACTERS.sub("_", part["tool_name"])[:_MAX_NAME_LENGTH] or "unnamed"
    return {**part, "tool_name": name, "args": _json_object(part.get("args"))}


def _json_object(args: object) -> str:
    """Return arguments as the JSON of an object. A model may write no JSON, or JSON of something else."""
    text = args if isinstance(args, str) else json.dumps(args or {})
    if not text.strip():
        return "{}"
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    return text if isinstance(value, dict) else json.dumps({"arguments": text})


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
