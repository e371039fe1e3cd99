"""Stored messages as items: what was asked, and the answers, with the ids that responses have."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json

from chatd.adapters.responses.ids import ItemId, ResponseId, turn_of_message
from chatd.adapters.responses.output import (
    Item,
    function_call_item,
    message_item,
    reasoning_item,
    url_citation,
)
from chatd.adapters.responses.reading import StoredResponse
from chatd.adapters.step_reader import shown
from chatd.domain.message import Content, Message, Part, Role, client_key

_INCOMPLETE: Final = frozenset({"interrupted", "length", "content_filter"})


def asked_items(stored: StoredResponse, messages: Sequence[Message]) -> list[Item]:
    """Return the items that a response answers. ``messages`` are those of its turn."""
    if stored.first_step == 0:
        return [_user_item(stored.turn_id, stored.asked.content)]
    items: list[Item] = []
    steps = 0
    for message in messages:
        steps += message.role is Role.ASSISTANT
        if message.role is Role.TOOL and steps == stored.first_step:
            items += _outputs(stored.turn_id, steps, message.content)
    return items


def turn_items(messages: Sequence[Message]) -> Iterator[tuple[Message, list[Item]]]:
    """Yield the messages of a turn, from the user's on, each with its items.

    Of messages before the first one of a user, which no response answers, the first has the id.
    """
    if not messages:
        return
    first = messages[0]
    key = client_key(first.content) if first.role is Role.USER else None
    response = ResponseId(first.chat_id, turn_of_message(first.id, key))
    step = 0
    for number, message in enumerate(messages):
        match message.role:
            case Role.USER:
                yield message, [_user_item(response, message.content)]
            case Role.SYSTEM:
                yield message, [_system_item(response, number, message.content)]
            case Role.ASSISTANT:
                step += 1
                yield message, [*_answer_items(response, step, message)]
            case Role.TOOL:
                yield message, _outputs(response, step, message.content)


def _user_item(response: ResponseId, content: Content) -> Item:
    parts = [_input_part(part) for part in content if part["type"] in {"text", "file"}]
    return {
        "id": str(ItemId("msg", response, 0, 0)),
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": parts,
    }


def _system_item(response: ResponseId, number: int, content: Content) -> Item:
    parts = [_input_part(part) for part in content if part["type"] == "text"]
    item_id = str(ItemId("msg", response, 0, number + 1))
    return {
        "id": item_id,
        "type": "message",
        "role": "system",
        "status": "completed",
        "content": parts,
    }


def _input_part(part: Part) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    if str(part["media_type"]).startswith("image/"):
        file_id = str(part["file_id"])
        return {"type": "input_image", "file_id": file_id, "image_url": None, "detail": "auto"}
    return {"type": "input_file", "file_id": str(part["file_id"]), "filename": part["name"]}


def _answer_items(response: ResponseId, step: int, message: Message) -> Iterator[Item]:
    is_whole = message.finish_reason not in _INCOMPLETE
    status = "completed" if is_whole else "incomplete"
    citations: list[dict[str, Any]] = []
    """Those of the text before, or sources that came before a text."""
    is_of_text = False
    for index, part in enumerate(shown(message.content)):
        match part["type"]:
            case "text":
                item_id = str(ItemId("msg", response, step, index))
                item = message_item(item_id, part["text"], status, citations)
                citations, is_of_text = item["content"][0]["annotations"], True
                yield item
            case "reasoning":
                citations, is_of_text = [] if is_of_text else citations, False
                yield reasoning_item(str(ItemId("rs", response, step, index)), part["text"], status)
            case "tool-call":
                citations, is_of_text = [] if is_of_text else citations, False
                yield function_call_item(str(ItemId("fc", response, step, index)), part, status)
            case "source" if citation := url_citation(part):
                citations.append(citation)


def _outputs(response: ResponseId, step: int, content: Content) -> list[Item]:
    return [
        {
            "id": str(ItemId("fco", response, step, index)),
            "type": "function_call_output",
            "call_id": part["tool_call_id"],
            "output": _output(part["result"]),
            "status": "completed",
        }
        for index, part in enumerate(content)
        if part["type"] == "tool-result"
    ]


def _output(result: Any) -> str:
    return result if isinstance(result, str) else to_json(result).decode()
