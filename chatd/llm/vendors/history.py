"""The last pass over outgoing history: from stored messages to turns that a provider accepts.

A chat may have been stopped, edited, cut by a length limit or moved to another provider, and a model may
have written anything. Providers answer 400 to a history that breaks their rules, and as the history stays,
the chat would fail for ever. So this pass makes every history acceptable, whatever is stored:

* The turns of user and assistant alternate. The first one is the user's, and so is the last one.
* No text is blank.
* Every tool call has one result, in the order of the calls, and every result has its call. The ids are
  unique and fit the provider, arguments are a JSON object, and names have no odd characters.
* The provider's own state of a part (a signature, encrypted reasoning, an id) goes only to the provider
  that sent it, and only with an answer that is whole. Reasoning goes only with what it led to.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from chatd.domain.message import Message, Part, Role, text_of
from chatd.llm.errors import UnsupportedContent
from chatd.llm.vendors.files import is_text, media_type_of, refusal
from chatd.llm.vendors.history_rules import HistoryRules, ReasoningReplay

NO_MESSAGE = "(no message)"
NO_ANSWER = "(no answer)"
NO_OUTPUT = "(no output)"
NO_RESULT = "The call has no result."
GO_ON = "Go on."
TEXT_SEPARATOR = "\n\n"

_WHOLE = frozenset({"stop", "tool_call"})
"""Finish reasons of an answer that is whole. The state of any other answer is dropped."""
_ODD_NAME_CHARACTERS = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class UserTurn:
    """All that the user said before an answer: text and file parts."""

    parts: list[Part]


@dataclass(frozen=True, slots=True)
class AnswerTurn:
    """An answer of the model, and the results of its tool calls in the order of the calls."""

    parts: list[Part]
    results: list[Part] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class History:
    """A history that a provider accepts."""

    system: str
    turns: list[UserTurn | AnswerTurn]


def acceptable_history(
    messages: Sequence[Message],
    *,
    provider: str,
    rules: HistoryRules,
    file_texts: Mapping[str, str],
) -> History:
    """Return the history as turns that the provider accepts.

    ``provider`` is its configured name, to which state of parts belongs. ``file_texts`` are the texts of
    files by their ids. Raises ``UnsupportedContent`` if the latest user message holds a file that the
    provider does not take. In an earlier message such a file is replaced by words, so that the chat can go
    on.
    """
    return _HistoryBuilder(messages, provider=provider, rules=rules, file_texts=file_texts).build()


class _HistoryBuilder:
    """Builder of the turns of one request, message by message."""

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        provider: str,
        rules: HistoryRules,
        file_texts: Mapping[str, str],
    ) -> None:
        self._messages = messages
        self._provider = provider
        self._rules = rules
        self._file_texts = file_texts
        self._ids = _ToolCallIds(rules)
        self._turns: list[UserTurn | AnswerTurn] = []
        self._item_ids: set[str] = set()
        self._unanswered: list[tuple[str, Part]] = []
        """Calls of the last turn that have no result yet, with the ids under which they are stored."""
        users = (i for i, message in enumerate(messages) if message.role is Role.USER)
        self._last_user = max(users, default=-1)

    def build(self) -> History:
        system = [text_of(m.content) for m in self._messages if m.role is Role.SYSTEM]
        for index, message in enumerate(self._messages):
            match message.role:
                case Role.USER:
                    self._add_user_parts(self._user_parts(message, latest=index == self._last_user))
                case Role.ASSISTANT:
                    self._add_answer(message, current=index > self._last_user)
                case Role.TOOL:
                    self._add_results(message)
                case Role.SYSTEM:
                    pass
        self._close_calls()
        if not self._turns or (
            isinstance(self._turns[-1], AnswerTurn) and not self._turns[-1].results
        ):
            self._add_user_parts([_text(GO_ON)])
        text = TEXT_SEPARATOR.join(part for part in system if part.strip())
        return History(text, self._turns)

    def _add_user_parts(self, parts: list[Part]) -> None:
        self._close_calls()
        last = self._turns[-1] if self._turns else None
        if isinstance(last, UserTurn):
            last.parts.extend(parts)
            return
        if last is not None and last.results and self._rules.answer_after_tool_results:
            self._turns.append(AnswerTurn([_text(NO_ANSWER)]))
        self._turns.append(UserTurn(parts))

    def _user_parts(self, message: Message, *, latest: bool) -> list[Part]:
        parts = [
            self._file_part(part, number, latest=latest) if part["type"] == "file" else part
            for number, part in enumerate(message.content, 1)
            if part["type"] == "file" or (part["type"] == "text" and part["text"].strip())
        ]
        return parts or [_text(NO_MESSAGE)]

    def _file_part(self, part: Part, number: int, *, latest: bool) -> Part:
        reason = refusal(part, file_types=self._rules.file_types)
        if reason is None and is_text(media_type_of(part)):
            return _text(self._file_texts[part["file_id"]])
        if reason is None:
            return {**part, "media_type": media_type_of(part)}
        if latest:
            raise UnsupportedContent(f"Part {number} of the message is {reason}.")
        return _text(f"(There was {reason}.)")

    def _add_answer(self, message: Message, *, current: bool) -> None:
        self._close_calls()
        parts = _answer_parts(
            message, provider=self._provider, reasoning=self._rules.reasoning, current=current
        )
        if not parts:
            return
        if self._rules.unique_item_ids:
            parts = self._with_new_item_ids(parts)
        last = self._turns[-1] if self._turns else None
        if isinstance(last, AnswerTurn) and not last.results:
            answer = last
        else:
            if last is None:
                self._turns.append(UserTurn([_text(GO_ON)]))
            answer = AnswerTurn([])
            self._turns.append(answer)
        for part in parts:
            if part["type"] == "tool-call":
                call = {**part, "tool_call_id": self._ids.fit(part["tool_call_id"])}
                self._unanswered.append((part["tool_call_id"], call))
                answer.parts.append(call)
            else:
                answer.parts.append(part)

    def _with_new_item_ids(self, parts: list[Part]) -> list[Part]:
        """Return the parts of an answer, without their state if an earlier answer has one of its ids."""
        ids = {id_ for part in parts if (id_ := (part.get("provider") or {}).get("id"))}
        if ids & self._item_ids:
            return [_without_state(part) for part in parts if part["type"] != "reasoning"]
        self._item_ids |= ids
        return parts

    def _add_results(self, message: Message) -> None:
        answer = self._turns[-1] if self._turns else None
        if not isinstance(answer, AnswerTurn):
            return
        for part in message.content:
            for unanswered in self._unanswered:
                if part["type"] == "tool-result" and part["tool_call_id"] == unanswered[0]:
                    answer.results.append(_result(unanswered[1], part))
                    self._unanswered.remove(unanswered)
                    break

    def _close_calls(self) -> None:
        """Give a result to every call of the last turn that has none, and put the results in order."""
        last = self._turns[-1] if self._turns else None
        if not isinstance(last, AnswerTurn):
            return
        unanswered: Part = {"result": NO_RESULT, "is_error": True}
        last.results.extend(_result(call, unanswered) for _, call in self._unanswered)
        self._unanswered.clear()
        ids = [part["tool_call_id"] for part in last.parts if part["type"] == "tool-call"]
        last.results.sort(key=lambda result: ids.index(result["tool_call_id"]))


class _ToolCallIds:
    """Ids of tool calls in one history: those of the messages, where they are unique and fit."""

    def __init__(self, rules: HistoryRules) -> None:
        self._pattern = re.compile(rules.tool_call_id_pattern)
        self._length = rules.tool_call_id_length
        self._taken: set[str] = set()

    def fit(self, stored: str) -> str:
        """Return the id, or one derived from it, the same in every request of this chat."""
        name, number = stored, 0
        while name in self._taken or not self._pattern.fullmatch(name):
            number += 1
            digest = hashlib.sha256(f"{stored}#{number}".encode()).hexdigest()
            name = f"call{digest}"[: self._length]
        self._taken.add(name)
        return name


def _answer_parts(
    message: Message, *, provider: str, reasoning: ReasoningReplay, current: bool
) -> list[Part]:
    """Return the parts of an answer that go back, each with its state if all of it goes back."""
    parts = [
        _without_foreign_state(part, provider=provider)
        for part in message.content
        if part["type"] != "text" or part["text"].strip()
    ]
    if reasoning is ReasoningReplay.OF_TOOL_CALLS:
        sends_reasoning = current and any(part["type"] == "tool-call" for part in parts)
    else:
        sends_reasoning = reasoning is ReasoningReplay.SIGNED and _is_signed(parts)
    is_whole = message.finish_reason in _WHOLE
    if not is_whole or (not sends_reasoning and reasoning is ReasoningReplay.SIGNED):
        parts = [_without_state(part) for part in parts]
    kept = [
        _fitting_call(part) if part["type"] == "tool-call" else part
        for part in parts
        if part["type"] in {"text", "tool-call"}
        or (part["type"] == "reasoning" and sends_reasoning and part.get("provider"))
    ]
    while kept and kept[-1]["type"] == "reasoning":
        kept.pop()
    return kept


def _without_foreign_state(part: Part, *, provider: str) -> Part:
    state: Mapping[str, Any] = part.get("provider") or {}
    return part if not state or state.get("name") == provider else _without_state(part)


def _without_state(part: Part) -> Part:
    return {key: value for key, value in part.items() if key != "provider"}


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


def _result(call: Part, part: Part) -> Part:
    return {
        "tool_call_id": call["tool_call_id"],
        "tool_name": call["tool_name"],
        "text": _result_text(part.get("result")),
        "is_error": bool(part.get("is_error")),
    }


def _result_text(result: object) -> str:
    if result is None or (isinstance(result, str) and not result.strip()):
        return NO_OUTPUT
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def joined_text(parts: Collection[Part]) -> str | None:
    """Return parts that are all text as one text. None: there is a file among them."""
    if all(part["type"] == "text" for part in parts):
        return TEXT_SEPARATOR.join(part["text"] for part in parts)
    return None
