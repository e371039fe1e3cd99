"""A client's list of messages as messages of a chat. It does no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chatd.adapters.completions.parts import (
    assistant_content,
    plain_text,
    refused,
    user_content,
)
from chatd.adapters.completions.request import RequestMessage
from chatd.adapters.content import joined, text_part
from chatd.api.schema.content import SentContent
from chatd.domain.message import NewMessage, Part, Role
from chatd.domain.tool_call import ToolResult

_SYSTEM: Final = frozenset({"system", "developer"})
_PARAGRAPH: Final = "\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A client's list: what stands before its end, and the end, which is to be answered.

    The end is a message of the user, ``content``, or ``results`` of the client's tools, whose calls are at
    the end of ``history``. Every other call has its result there.
    """

    system_prompt: str | None
    history: Sequence[NewMessage]
    content: SentContent | None = None
    results: Sequence[ToolResult] = ()

    @property
    def answered_steps(self) -> int:
        """The number of responses of the turn that the client has already."""
        steps = 0
        for message in reversed(self.history if self.results else ()):
            if message.role is Role.USER:
                break
            steps += message.role is Role.ASSISTANT
        return steps

    def messages(self) -> Sequence[NewMessage]:
        """Return all messages but the system prompt, with the end."""
        if self.content is not None:
            return [*self.history, _message(Role.USER, self.content)]
        return [*self.history, _results_message(self.history[-1], self.results)]


def read_conversation(
    messages: Sequence[RequestMessage], *, takes_system: bool = True
) -> Conversation:
    """Return a client's list as a conversation. Raises ``HttpProblem`` (422) that names the place.

    Without ``takes_system`` no message of a system is read.

    Calls of earlier turns without a result, and results without a call, are left out: some clients have
    tools of their own, and keep half of it.
    """
    end = len(messages)
    while end and _is_empty_answer(messages[end - 1], end - 1):
        end -= 1  # of a turn that failed
    start = 0
    while start < end and messages[start].role in _SYSTEM:
        start += 1
    prompts = [plain_text(messages[number], number) for number in range(start)]
    if end == start or messages[end - 1].role not in {"user", "tool"}:
        raise refused(len(messages) - 1, "role", "must be user or tool in the last message")
    reader = _Reader(takes_system)
    for number in range(start, end - (messages[end - 1].role == "user")):
        reader.read(messages[number], number)
    content, results = None, tuple[ToolResult, ...]()
    if messages[end - 1].role == "user":
        reader.close_calls()
        content = _question(messages[end - 1], end - 1)
    else:
        results = reader.last_results(end - 1)
    return Conversation(
        system_prompt=_PARAGRAPH.join(filter(None, prompts)) or None,
        history=reader.history,
        content=content,
        results=results,
    )


def _question(message: RequestMessage, number: int) -> SentContent:
    content = user_content(message, number)
    if not any(part["type"] != "text" or part["text"].strip() for part in content.parts):
        reason = "must hold a file, or text that is not white space alone"
        raise refused(number, "content", reason)
    return content


@dataclass(slots=True)
class _Reader:
    """The messages read so far, and the calls of the last one with their results."""

    takes_system: bool
    history: list[NewMessage] = field(default_factory=list)
    calls: dict[str, Part] = field(default_factory=dict)
    results: dict[str, ToolResult] = field(default_factory=dict)

    def read(self, message: RequestMessage, number: int) -> None:
        """Read the next message of the list."""
        if message.role == "tool":
            self._read_result(message, number)
            return
        self.close_calls()
        if message.role == "assistant":
            content: SentContent = joined(assistant_content(message, number))
            self._add(Role.ASSISTANT, content)
            calls = (part for part in content.parts if part["type"] == "tool-call")
            self.calls = {part["tool_call_id"]: part for part in calls}
        elif message.role == "user":
            self._add(Role.USER, user_content(message, number))
        elif (text := plain_text(message, number)) and self.takes_system:
            self._add(Role.SYSTEM, joined([text_part(text)]))

    def close_calls(self) -> None:
        """Store the results of the last message's calls. Leave calls out that have none."""
        if not self.calls:
            return
        answer = self.history.pop()
        settled = [
            part
            for part in answer.content
            if part["type"] != "tool-call" or part["tool_call_id"] in self.results
        ]
        if settled:
            self._add(Role.ASSISTANT, joined(settled))
        if self.results:
            self.history.append(_results_message(answer, [*self.results.values()]))
        self.calls, self.results = {}, {}

    def last_results(self, number: int) -> tuple[ToolResult, ...]:
        """Return the results that the list ends with. Raises ``HttpProblem`` unless every call has one."""
        if missing := [call_id for call_id in self.calls if call_id not in self.results]:
            raise refused(number, "", f"there is no result of the tool call {missing[0]}")
        if not self.results:
            raise refused(number, "tool_call_id", "is of no call of the message before it")
        return tuple(self.results.values())

    def _read_result(self, message: RequestMessage, number: int) -> None:
        call_id = message.tool_call_id
        if call_id in self.calls and call_id not in self.results:
            result = ToolResult(tool_call_id=call_id, result=plain_text(message, number))
            self.results[call_id] = result

    def _add(self, role: Role, content: SentContent) -> None:
        if content.parts:
            self.history.append(_message(role, content))


def _message(role: Role, content: SentContent) -> NewMessage:
    return NewMessage(role=role, content=tuple(content.parts), files=tuple(content.files))


def _results_message(answer: NewMessage, results: Iterable[ToolResult]) -> NewMessage:
    """Return the message of the results of an answer's calls."""
    names: Mapping[str, str] = {
        part["tool_call_id"]: part["tool_name"]
        for part in answer.content
        if part["type"] == "tool-call"
    }
    parts: list[dict[str, Any]] = [
        {
            "type": "tool-result",
            "tool_call_id": each.tool_call_id,
            "tool_name": names[each.tool_call_id],
            "result": each.result,
            "is_error": each.is_error,
        }
        for each in results
    ]
    return NewMessage(role=Role.TOOL, content=tuple(parts))


def _is_empty_answer(message: RequestMessage, number: int) -> bool:
    return message.role == "assistant" and not assistant_content(message, number)
