"""Chunks of the AI SDK: whatever of a turn's stream arrives, a client that folds them has the history."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trials import trials
from support.turn_cases import CHAT, TurnCase, message, snapshot, turns

from chatd.adapters.ai_sdk.history import ui_messages
from chatd.adapters.ai_sdk.messages import answered_calls, answers, user_content
from chatd.adapters.ai_sdk.request import ChatRequest, UIMessage
from chatd.adapters.ai_sdk.versions import VERSIONS
from chatd.adapters.ai_sdk.wire import ChunkWriter
from chatd.adapters.turn_item_reader import Turn, TurnItemReader
from chatd.adapters.turn_items import (
    PartBegan,
    PartDelta,
    StepBegan,
    StepVoided,
    ToolResult,
    TurnBegan,
    TurnInterrupted,
    TurnItem,
)
from chatd.api.errors.problems import HttpProblem
from chatd.domain.answer import Approval, Decision, Input
from chatd.domain.chat import Status
from chatd.domain.message import Role
from chatd.domain.tool_call import ToolResult as GivenResult

TURN = Turn(message_id=10)
ASKED = message(10, Role.USER, {"type": "text", "text": "hi"})
CALL = {"type": "tool-call", "tool_call_id": "c", "tool_name": "weather"}
RESULT = {"type": "tool-result", "tool_call_id": "c", "tool_name": "weather", "result": 1}


class Folded:
    """The parts of a message, folded as the package does, which refuses chunks out of order."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.types: list[str] = []
        self._open: dict[str, dict[str, Any]] = {}

    def apply(self, chunk: dict[str, Any]) -> None:
        kind, _, verb = chunk["type"].partition("-")
        self.types.append(chunk["type"])
        if chunk["type"] == "start-step":
            self.parts.append({"type": "step-start"})
        elif chunk["type"] == "reset-step":
            while self.parts[-1]["type"] != "step-start":
                self.parts.pop()
            self._open.clear()
        elif kind in {"text", "reasoning"}:
            self._text(kind, verb, chunk)
        elif chunk["type"] == "source-url":
            self.parts.append({k: v for k, v in chunk.items() if k != "sourceId"})
        elif chunk["type"] == "tool-input-start":
            call = {"type": f"tool-{chunk['toolName']}", "id": chunk["toolCallId"]}
            self.parts.append(call)

    def _text(self, kind: str, verb: str, chunk: dict[str, Any]) -> None:
        if verb == "start":
            assert chunk["id"] not in self._open
            self._open[chunk["id"]] = part = {"type": kind, "text": ""}
            self.parts.append(part)
        elif verb == "delta":
            self._open[chunk["id"]]["text"] += chunk["delta"]
        else:
            del self._open[chunk["id"]]

    def shown(self) -> list[dict[str, Any]]:
        """Return the parts, without steps that have none."""
        following = [*self.parts, {"type": "step-start"}][1:]
        return [
            part
            for part, after in zip(self.parts, following, strict=True)
            if part["type"] != "step-start" or after["type"] != "step-start"
        ]


def stored(case: TurnCase) -> list[dict[str, Any]]:
    messages = ui_messages(snapshot(Status.WAITING, *case.messages), VERSIONS["v7"])
    parts = messages[-1]["parts"] if messages[-1]["role"] == "assistant" else []
    return [_bare(part) for part in parts]


def _bare(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"].startswith("tool-"):
        return {"type": part["type"], "id": part["toolCallId"]}
    return {key: value for key, value in part.items() if key not in {"state", "sourceId"}}


@settings(max_examples=trials(100))
@given(turns(), st.data())
def test_client_that_folds_the_chunks_has_the_history(case: TurnCase, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(case.events)))
    reader, writer, client = TurnItemReader(TURN), ChunkWriter(VERSIONS["v7"], CHAT), Folded()
    items = list(reader.read_snapshot(case.at(start)))
    for event in case.events[start:]:
        items += reader.read_event(event)
    for item in items:
        for chunk in writer.chunks(item):
            client.apply(chunk)
    assert client.shown() == stored(case)
    assert client.types[-1] in {"finish", "error"}
    assert client.types.count("start-step") == client.types.count("finish-step")


def chunks(version: str, *items: TurnItem, first_step: int = 0) -> list[dict[str, Any]]:
    writer = ChunkWriter(VERSIONS[version], CHAT, first_step=first_step)
    return [chunk for item in items for chunk in writer.chunks(item)]


VOIDED = (
    TurnBegan(ASKED),
    StepBegan(0),
    PartBegan(0, 0, {"type": "text"}),
    PartDelta(0, 0, "Wrong"),
    PartBegan(0, 1, CALL),
    PartDelta(0, 1, '{"ci'),
    StepVoided(0),
    StepBegan(0),
    PartBegan(0, 0, {"type": "text"}),
)


def test_void_step_begins_again_in_its_place() -> None:
    types = [chunk["type"] for chunk in chunks("v7", *VOIDED)]
    assert types[-2:] == ["reset-step", "text-start"]
    assert types.count("start-step") == 1


@pytest.mark.parametrize("version", ["v5", "v6"])
def test_void_step_is_closed_where_it_cannot_be_taken_back(version: str) -> None:
    made = chunks(version, *VOIDED)
    ids = [chunk["id"] for chunk in made if chunk["type"] == "text-start"]
    assert len(set(ids)) == 2
    assert [chunk["type"] for chunk in made][-5:] == [
        "tool-input-error",
        "finish-step",
        "data-chatd-void",
        "start-step",
        "text-start",
    ]


@pytest.mark.parametrize(
    ("version", "end"),
    [
        ("v5", [{"type": "abort"}]),
        ("v6", [{"type": "abort"}, {"type": "finish"}]),
        ("v7", [{"type": "finish", "finishReason": "interrupted"}]),
    ],
)
def test_interrupt_after_results_leaves_an_empty_step(version: str, end: list[Any]) -> None:
    """Without it, the package would send its results for ever."""
    made = chunks(version, TurnBegan(ASKED), ToolResult(0, RESULT), TurnInterrupted(), first_step=1)
    assert made[-len(end) - 2 :] == [{"type": "start-step"}, {"type": "finish-step"}, *end]


def user(*parts: dict[str, Any]) -> UIMessage:
    return UIMessage.model_validate({"id": "u", "role": "user", "parts": parts})


def test_files_of_users() -> None:
    inline = {"type": "file", "mediaType": "text/plain", "url": "data:text/plain;base64,aGk="}
    own = {"type": "file", "url": f"https://app.example/api/v1/chats/{CHAT}/files/{UUID(int=7)}"}
    content = user_content(user(inline, own), CHAT, where="body.messages.0")
    assert [file.data for file in content.files] == [b"hi"]
    assert content.named_files == [UUID(int=7)]
    for url in ("https://e.x/a.png", f"/api/v1/chats/{UUID(int=2)}/files/{UUID(int=7)}"):
        with pytest.raises(HttpProblem, match=r"body\.messages\.0\.parts\.0\.url"):
            user_content(user({"type": "file", "url": url}), CHAT, where="body.messages.0")


def test_answers_to_calls_of_each_kind() -> None:
    last = UIMessage.model_validate(
        {
            "id": "a10",
            "role": "assistant",
            "parts": [
                {"type": "tool-a", "toolCallId": "1", "state": "output-available", "output": [1]},
                {"type": "dynamic-tool", "toolCallId": "2", "state": "output-error", "errorText": "no"},
                {"type": "tool-c", "toolCallId": "3", "state": "approval-responded",
                 "approval": {"id": "3", "approved": False, "reason": "why"}},
                {"type": "tool-d", "toolCallId": "4", "state": "output-error", "errorText": "x"},
                {"type": "tool-e", "toolCallId": "5", "state": "input-available"},
            ],
        }
    )  # fmt: skip
    kinds = {"1": "result", "2": "result", "3": "approval", "4": "input", "5": "result"}
    asked = [
        {"tool_call_id": call, "kind": kind, "question_number": 2} for call, kind in kinds.items()
    ]
    found, missing = answers(answered_calls(last), asked)
    assert missing == ["5"]
    assert found == [
        GivenResult(tool_call_id="1", result=[1]),
        GivenResult(tool_call_id="2", result="no", is_error=True),
        Approval(tool_call_id="3", allowed=False, reason="why"),
        Input(tool_call_id="4", decision=Decision.DECLINE, question_number=2),
    ]


def test_body_of_assistant_ui() -> None:
    """It sends tools by name, and fields that are nobody's here."""
    body = ChatRequest.model_validate(
        {
            "id": "x",
            "messages": [{"id": "u", "role": "user", "parts": [], "metadata": {}}],
            "tools": {"a": {"description": "d", "parameters": {"type": "object"}}},
            "callSettings": {},
            "config": {},
        }
    )
    assert [(tool.name, tool.description) for tool in body.given_tools] == [("a", "d")]
