"""The last pass over outgoing history: from stored messages to turns that a provider accepts.

A chat may have been stopped, edited, cut by a length limit or moved to another provider, and a model may
have written anything. Providers answer 400 to a history that breaks their rules, and as the history stays,
the chat would fail for ever. So this pass makes every history acceptable, whatever is stored:

* The turns of user and assistant alternate. The first one is the user's, and so is the last one, unless the
  provider paused its answer.
* No text is blank.
* Every tool call has one result, in the order of the calls, and every result has its call. The ids are
  unique and fit the provider, arguments are a JSON object, and names have no odd characters.
* The provider's own state of a part (a signature, encrypted reasoning, an id) goes only to the provider
  that sent it, and only with an answer that is whole. Reasoning goes only with what it led to.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from chatd.domain.message import NATIVE_PART_TYPES, PAUSED, Message, Part, Role, text_of
from chatd.llm.errors import UnsupportedContent
from chatd.llm.vendors.answer_parts import AnswerParts
from chatd.llm.vendors.files import is_text, media_type_of, refusal
from chatd.llm.vendors.history_rules import HistoryRules
from chatd.llm.vendors.result_images import ResultImages
from chatd.llm.vendors.tool_call_ids import ToolCallIds

NO_MESSAGE = "(no message)"
NO_ANSWER = "(no answer)"
NO_OUTPUT = "(no output)"
NO_RESULT = "The call has no result."
GO_ON = "Go on."
TEXT_SEPARATOR = "\n\n"


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
    native_tools: Collection[str] = (),
) -> History:
    """Return the history as turns that the provider accepts.

    ``provider`` is its configured name, to which state of parts belongs. ``file_texts`` are the texts of
    files by their ids, and ``native_tools`` those that the request offers. Raises ``UnsupportedContent`` if
    the latest user message holds a file that the provider does not take. In an earlier message such a file
    is replaced by words, so that the chat can go on.
    """
    return _HistoryBuilder(
        messages,
        provider=provider,
        rules=rules,
        file_texts=file_texts,
        native_tools=native_tools,
    ).build()


class _HistoryBuilder:
    """Builder of the turns of one request, message by message."""

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        provider: str,
        rules: HistoryRules,
        file_texts: Mapping[str, str],
        native_tools: Collection[str],
    ) -> None:
        self._messages = messages
        self._rules = rules
        self._file_texts = file_texts
        self._ids = ToolCallIds(rules)
        self._answer_parts = AnswerParts(provider=provider, rules=rules, native_tools=native_tools)
        self._turns: list[UserTurn | AnswerTurn] = []
        self._is_paused = False
        """True if the provider paused the last answer."""
        self._images = ResultImages(messages, rules)
        self._unshown: list[Part] = []
        """Images of the last results, and words that introduce them, for a message of the user."""
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
        self._show_images()
        self._close_calls()
        if not self._turns or not self._goes_on(self._turns[-1]):
            self._add_user_parts([_text(GO_ON)])
        text = TEXT_SEPARATOR.join(part for part in system if part.strip())
        return History(text, self._turns)

    def _goes_on(self, last: UserTurn | AnswerTurn) -> bool:
        """Return True if the provider answers after this turn: the user's, or an answer that it paused."""
        if isinstance(last, UserTurn) or last.results:
            return True
        return self._is_paused and last.parts[-1]["type"] in NATIVE_PART_TYPES

    def _show_images(self) -> None:
        """Have the user show what the results of tools may not hold."""
        if self._unshown:
            self._add_user_parts([])

    def _add_user_parts(self, parts: list[Part]) -> None:
        self._close_calls()
        if self._turns and isinstance(answer := self._turns[-1], AnswerTurn):
            self._answer_parts.drop_unanswered(answer.parts)
            if not answer.parts:
                self._turns.pop()
        self._answer_parts.end_turn()
        parts = [*self._unshown, *parts]
        self._unshown.clear()
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
        self._show_images()
        self._close_calls()
        parts = self._answer_parts.select(message, current=current)
        if not parts:
            return
        self._is_paused = message.finish_reason == PAUSED
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

    def _add_results(self, message: Message) -> None:
        answer = self._turns[-1] if self._turns else None
        if not isinstance(answer, AnswerTurn):
            return
        for part in message.content:
            for unanswered in self._unanswered:
                if part["type"] == "tool-result" and part["tool_call_id"] == unanswered[0]:
                    result = _result(unanswered[1], part)
                    answer.results.append(self._with_images(result, part))
                    self._unanswered.remove(unanswered)
                    break

    def _with_images(self, result: Part, part: Part) -> Part:
        """Return a result with its images, and words for those that the provider does not take."""
        images, words = self._images.of(part)
        if words:
            result = {**result, "text": "\n".join((result["text"], *words))}
        if images and not self._rules.tool_result_files:
            self._unshown += [_text(f"Images of {result['tool_name']}:"), *images]
        elif images:
            result = {**result, "files": images}
        return result

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
