"""Stored messages as UI messages, in which one message of the assistant answers one of the user."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatd.adapters.ai_sdk.tool_calls import error_text, parse_input
from chatd.adapters.ai_sdk.versions import Version
from chatd.adapters.ai_sdk.wire import file_url, message_id
from chatd.adapters.step_reader import shown
from chatd.domain.message import Message, Part, QueuedMessage, Role, client_key
from chatd.domain.question import QuestionKind
from chatd.domain.snapshot import ChatSnapshot

UIMessage = dict[str, Any]
UIPart = dict[str, Any]


def user_message_id(message: Message | QueuedMessage) -> str:
    """Return the id by which clients know a message of the user."""
    letter = "q" if isinstance(message, QueuedMessage) else "m"
    return client_key(message.content) or f"{letter}{message.id}"


def ui_messages(snapshot: ChatSnapshot, version: Version) -> Sequence[UIMessage]:
    """Return the messages of a chat, and those that are queued. The running step is left out.

    Of a long chat they are the newest, from a message of the user on.
    """
    action = snapshot.action_required or {"calls": ()}
    reader = _HistoryReader({call["tool_call_id"]: call for call in action["calls"]}, version)
    is_whole = not snapshot.has_older
    for message in snapshot.messages:
        is_whole = is_whole or message.role is Role.USER
        if is_whole and message.covers_until is None and not message.superseded:
            reader.read(message)
    metadata = {"chatd": {"queued": True}}
    queued = [{**_user_message(message), "metadata": metadata} for message in snapshot.queue]
    return [*reader.messages, *queued]


class _HistoryReader:
    """Reader of a history. ``asked`` are the calls that wait for an answer."""

    def __init__(self, asked: Mapping[str, Mapping[str, Any]], version: Version) -> None:
        self.messages: list[UIMessage] = []
        self._asked = asked
        self._version = version
        self._turn = 0
        self._step = 0
        self._calls: dict[str, UIPart] = {}

    def read(self, message: Message) -> None:
        """Add a message."""
        if message.role is Role.USER:
            self._turn, self._step, self._calls = message.id, 0, {}
            self.messages.append(_user_message(message))
        elif message.role is Role.ASSISTANT:
            parts = list(self._parts(message))
            if parts:
                self._answer()["parts"] += [{"type": "step-start"}, *parts]
                self._step += 1
        elif message.role is Role.TOOL:
            for part in message.content:
                self._settle(part)

    def _answer(self) -> UIMessage:
        """Return the message that answers the last one of the user."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"id": message_id(self._turn), "role": "assistant", "parts": []})
        return self.messages[-1]

    def _parts(self, message: Message) -> Iterator[UIPart]:
        for index, part in enumerate(shown(message.content)):
            match part["type"]:
                case "text" | "reasoning":
                    yield {"type": part["type"], "text": part["text"], "state": "done"}
                case "tool-call" | "native-tool-call":
                    yield self._call(part)
                case "native-tool-result":
                    self._settle(part)
                case "source" if part.get("url"):
                    title = {"title": part["title"]} if part.get("title") else {}
                    source = f"s{self._step}p{index}"
                    yield {"type": "source-url", "sourceId": source, "url": part["url"], **title}
                case "file":
                    yield _file(part, message)

    def _call(self, part: Part) -> UIPart:
        call_id = part["tool_call_id"]
        value, is_json = parse_input(part.get("args"))
        call = {
            "type": f"tool-{part['tool_name']}",
            "toolCallId": call_id,
            "state": "input-available",
            "input": value,
        }
        if part["type"] == "native-tool-call":
            call["providerExecuted"] = True
        if not is_json:
            call |= {"state": "output-error", "errorText": "The arguments are not valid JSON."}
        elif self._version.approves and (
            self._asked.get(call_id, {}).get("kind") == QuestionKind.APPROVAL
        ):
            call |= {"state": "approval-requested", "approval": {"id": call_id}}
        self._calls[call_id] = call
        return call

    def _settle(self, part: Part) -> None:
        call = self._calls.get(part["tool_call_id"])
        if call is None:
            return
        if part.get("is_error"):
            call |= {"state": "output-error", "errorText": error_text(part["result"])}
        else:
            call |= {"state": "output-available", "output": part["result"]}


def _user_message(message: Message | QueuedMessage) -> UIMessage:
    parts = [
        {"type": "text", "text": part["text"]} if part["type"] == "text" else _file(part, message)
        for part in message.content
        if part["type"] in {"text", "file"}
    ]
    return {"id": user_message_id(message), "role": "user", "parts": parts}


def _file(part: Part, message: Message | QueuedMessage) -> UIPart:
    file = {
        "type": "file",
        "mediaType": part["media_type"],
        "url": file_url(message.chat_id, part["file_id"]),
    }
    return file | ({"filename": part["name"]} if part.get("name") else {})
