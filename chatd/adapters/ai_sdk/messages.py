"""UI messages of a client as content of chatd, and as answers to the calls that a chat waits for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from chatd.adapters.ai_sdk.request import UIMessage, UIPart
from chatd.adapters.content import file_from_data_url, joined, text_part
from chatd.api.errors.problems import FieldProblem, invalid_request
from chatd.api.schema.content import SentContent, StoredFileInput, sent_content
from chatd.domain.answer import Answer, Approval, Decision, Input
from chatd.domain.message import NewMessage, Part, Role
from chatd.domain.question import QuestionKind
from chatd.domain.tool_call import ToolResult

_FILE_PATH: Final = re.compile(r"(?:^|/)api/v1/chats/([0-9a-f-]{36})/files/([0-9a-f-]{36})$")
"""The end of the URL of a file in a hydrated message. What precedes it is for the reverse proxy."""
_HAS_OUTPUT: Final = frozenset({"output-available", "output-error"})


def user_content(message: UIMessage, chat_id: UUID, *, where: str) -> SentContent:
    """Return the content of a message of the user. Parts of data and sources are left out.

    Raises ``HttpProblem`` (422) for a file that is somewhere else, and for a message without content.
    """
    content = joined(_pieces(message, chat_id, where))
    if not any(part["type"] != "text" or part["text"].strip() for part in content.parts):
        problem = "must have a part of text that is not white space alone, or a file"
        raise invalid_request(FieldProblem(where=f"{where}.parts", message=problem))
    return content


def _pieces(message: UIMessage, chat_id: UUID, where: str) -> Iterator[Part | SentContent]:
    for number, part in enumerate(message.parts):
        if part.type == "text" and part.text:
            yield text_part(part.text)
        elif part.type == "file":
            url = part.url or ""
            if (stored := _stored_file(url, chat_id)) is not None:
                yield sent_content([StoredFileInput(type="file", file_id=stored)])
            else:
                place = f"{where}.parts.{number}.url"
                yield file_from_data_url(url, where=place, name=part.filename)


def _stored_file(url: str, chat_id: UUID) -> UUID | None:
    """Return the id of a file of this chat, if the URL is of one."""
    found = _FILE_PATH.search(url) if len(url) < 4_000 else None  # noqa: PLR2004 - a path is short
    if found is None or found[1] != str(chat_id):
        return None
    try:
        return UUID(found[2])
    except ValueError:
        return None


def earlier_messages(messages: Sequence[UIMessage], chat_id: UUID) -> list[NewMessage]:
    """Return the messages before the last one for a new chat: texts and files. Tool calls are left out."""
    earlier: list[NewMessage] = []
    for number, message in enumerate(messages):
        if message.role == "user":
            sent = user_content(message, chat_id, where=f"body.messages.{number}")
            earlier.append(NewMessage(role=Role.USER, content=sent.parts, files=sent.files))
        elif message.role == "assistant":
            texts = [text_part(part.text) for part in message.parts if _is_text(part) and part.text]
            if texts:
                earlier.append(NewMessage(role=Role.ASSISTANT, content=tuple(texts)))
    return earlier


def system_prompt(messages: Sequence[UIMessage]) -> str | None:
    """Return the system prompt of a list. None: it has none."""
    texts = [
        part.text
        for message in messages
        if message.role == "system"
        for part in message.parts
        if _is_text(part) and part.text
    ]
    return "\n\n".join(texts) or None


def _is_text(part: UIPart) -> bool:
    return part.type == "text"


def answered_calls(message: UIMessage) -> Mapping[str, UIPart]:
    """Return the calls of a message of the assistant to which the client has an answer, by id."""
    return {
        part.tool_call_id: part
        for part in message.parts
        if part.is_tool_call and part.tool_call_id and (part.state in _HAS_OUTPUT or _decided(part))
    }


def _decided(part: UIPart) -> bool:
    return part.approval is not None and part.approval.approved is not None


def answers(
    given: Mapping[str, UIPart], asked: Sequence[Mapping[str, Any]]
) -> tuple[list[Answer], list[str]]:
    """Return the answers to the calls that a chat asks, and the ids of those without one."""
    found: list[Answer] = []
    missing: list[str] = []
    for call in asked:
        part = given.get(call["tool_call_id"])
        answer = None if part is None else _answer(part, call)
        if answer is None:
            missing.append(call["tool_call_id"])
        else:
            found.append(answer)
    return found, missing


def _answer(part: UIPart, call: Mapping[str, Any]) -> Answer | None:
    call_id, is_error = call["tool_call_id"], part.state == "output-error"
    if call["kind"] == QuestionKind.APPROVAL:
        if part.approval is None or part.approval.approved is None:
            return None
        approved, reason = part.approval.approved, part.approval.reason
        return Approval(tool_call_id=call_id, allowed=approved, reason=reason or None)
    if part.state not in _HAS_OUTPUT:
        return None
    if call["kind"] == QuestionKind.INPUT:
        return Input(
            tool_call_id=call_id,
            decision=Decision.DECLINE if is_error else Decision.ACCEPT,
            content=None if is_error else part.output,
            question_number=call["question_number"],
        )
    result = (part.error_text or "") if is_error else part.output
    return ToolResult(tool_call_id=call_id, result=result, is_error=is_error)
