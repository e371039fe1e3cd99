"""The input of a request as messages of a chat. It does no I/O: references are resolved before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chatd.adapters.content import file_from_data_url, joined, text_part
from chatd.adapters.openai_errors import NOT_SUPPORTED
from chatd.adapters.responses.request import (
    ApprovalInput,
    ContentPart,
    ContentParts,
    FunctionCallInput,
    FunctionOutputInput,
    InputItem,
    MessageInput,
)
from chatd.api.errors.problems import FieldProblem, HttpProblem, invalid_request
from chatd.api.schema.content import SentContent
from chatd.domain.message import NewMessage, Part, Role
from chatd.domain.tool_call import ToolResult

_SYSTEM: Final = frozenset({"system", "developer"})
_TEXTS: Final = frozenset({"input_text", "output_text", "text", "refusal"})
_NO_ARGUMENTS: Final = "{}"
_PARAGRAPH: Final = "\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInput:
    """The input of a request, sorted.

    ``content`` is the message of the user that is to be answered, after ``history``. ``results`` are those
    of calls that are not in ``history``: of the chat's own.
    """

    system_prompt: str | None
    history: Sequence[NewMessage]
    content: SentContent | None = None
    results: Sequence[ToolResult] = ()
    approvals: Sequence[ApprovalInput] = ()

    @property
    def ends_in_results(self) -> bool:
        """True if the last message has results of calls before it, which are to be answered."""
        return self.content is None and bool(self.history) and self.history[-1].role is Role.TOOL

    @property
    def answers_calls(self) -> bool:
        return bool(self.results or self.approvals)


def read_input(given: str | Sequence[InputItem]) -> RequestInput:
    """Return the input of a request. Raises ``HttpProblem`` (422) that names the place of a mistake."""
    if isinstance(given, str):
        content = joined([text_part(given)]) if given.strip() else None
        return RequestInput(system_prompt=None, history=(), content=content)
    start = 0
    prompts: list[str] = []
    while start < len(given) and (prompt := _prompt(given[start], start)) is not None:
        prompts.append(prompt)
        start += 1
    reader = _Reader()
    last, end = given[-1] if given else None, len(given)
    content = None
    if isinstance(last, MessageInput) and last.role == "user":
        end -= 1
        content = user_content(last.content, f"input.{end}")
    for number in range(start, end):
        reader.read(given[number], number)
    reader.close()
    return RequestInput(
        system_prompt=_PARAGRAPH.join(filter(None, prompts)) or None,
        history=reader.history,
        content=content,
        results=[*reader.foreign_results.values()],
        approvals=reader.approvals,
    )


def read_history(given: Sequence[InputItem]) -> tuple[str | None, Sequence[NewMessage]]:
    """Return items of which none is to be answered: the system prompt, and the messages after it."""
    prompt = _prompt(given[0], 0) if given else None
    reader = _Reader()
    for number in range(0 if prompt is None else 1, len(given)):
        reader.read(given[number], number)
    reader.close()
    return prompt, reader.history


def _prompt(item: InputItem, number: int) -> str | None:
    if isinstance(item, MessageInput) and item.role in _SYSTEM:
        return plain_text(item.content, f"input.{number}")
    return None


@dataclass(slots=True)
class _Reader:
    """The messages read so far, and the answer under way with the results of its calls."""

    history: list[NewMessage] = field(default_factory=list)
    foreign_results: dict[str, ToolResult] = field(default_factory=dict)
    approvals: list[ApprovalInput] = field(default_factory=list)
    _answer: list[Part] = field(default_factory=list)
    _calls: dict[str, Part] = field(default_factory=dict)
    _results: dict[str, ToolResult] = field(default_factory=dict)

    def read(self, item: InputItem, number: int) -> None:
        """Read the next item."""
        match item:
            case MessageInput(role="assistant", content=content):
                self._begin_answer()
                if text := plain_text(content, f"input.{number}"):
                    self._answer.append(text_part(text))
            case MessageInput():
                self._read_message(item, number)
            case FunctionCallInput():
                self._begin_answer()
                self._calls[item.call_id] = _call(item)
            case FunctionOutputInput():
                self._read_output(item, number)
            case ApprovalInput():
                self.approvals.append(item)
            case (
                _
            ):  # reasoning that no provider takes back, and what was resolved or refused before
                pass

    def _begin_answer(self) -> None:
        if self._results:
            self.close()

    def _read_message(self, item: MessageInput, number: int) -> None:
        self.close()
        where = f"input.{number}"
        if item.role == "user":
            content = user_content(item.content, where)
            if content.parts:
                self._add(Role.USER, content)
        elif text := plain_text(item.content, where):
            self._add(Role.SYSTEM, joined([text_part(text)]))

    def _read_output(self, item: FunctionOutputInput, number: int) -> None:
        output = plain_text(item.output, f"input.{number}", "output")
        result = ToolResult(tool_call_id=item.call_id, result=output)
        results = self._results if item.call_id in self._calls else self.foreign_results
        results[item.call_id] = result

    def close(self) -> None:
        """End the answer under way. Calls without a result are left out, and sent by no client."""
        settled = [self._calls[call_id] for call_id in self._results]
        if self._answer or settled:
            self._add(Role.ASSISTANT, joined([*self._answer, *settled]))
        if settled:
            results = [_result_part(self._calls[key], self._results[key]) for key in self._results]
            self._add(Role.TOOL, joined([*results]))
        self._answer, self._calls, self._results = [], {}, {}

    def _add(self, role: Role, content: SentContent) -> None:
        self.history.append(NewMessage(role=role, content=content.parts, files=content.files))


def _call(item: FunctionCallInput) -> Part:
    return {
        "type": "tool-call",
        "tool_call_id": item.call_id,
        "tool_name": item.name,
        "args": item.arguments or _NO_ARGUMENTS,
    }


def _result_part(call: Part, result: ToolResult) -> Part:
    return {
        "type": "tool-result",
        "tool_call_id": result.tool_call_id,
        "tool_name": call["tool_name"],
        "result": result.result,
        "is_error": False,
    }


def user_content(content: ContentParts, where: str) -> SentContent:
    """Return the content of a message of the user, without empty texts."""
    if isinstance(content, str):
        return joined([text_part(content)] if content else [])
    return joined(
        [
            _part(part, f"{where}.content.{place}")
            for place, part in enumerate(content)
            if part.type not in _TEXTS or part.text
        ]
    )


def _part(part: ContentPart, where: str) -> Part | SentContent:
    if part.type in _TEXTS:
        return text_part(part.text or "")
    if part.type == "input_image" and part.image_url is not None:
        return file_from_data_url(part.image_url, where=f"body.{where}.image_url")
    if part.type == "input_file" and part.file_data is not None:
        place = f"body.{where}.file_data"
        return file_from_data_url(part.file_data, where=place, name=part.filename or None)
    raise refused(f"{where}.type", NOT_SUPPORTED)


def plain_text(content: ContentParts, where: str, name: str = "content") -> str:
    """Return the text of a message or an output that may have nothing else."""
    if isinstance(content, str):
        return content
    for place, part in enumerate(content):
        if part.type not in _TEXTS:
            raise refused(f"{where}.{name}.{place}.type", NOT_SUPPORTED)
    return "".join(_words(content))


def _words(content: Iterable[ContentPart]) -> Iterable[str]:
    return (part.text or part.refusal or "" for part in content)


def refused(where: str, reason: str) -> HttpProblem:
    """Return the refusal of a field of the body."""
    return invalid_request(FieldProblem(where=f"body.{where}", message=reason))
