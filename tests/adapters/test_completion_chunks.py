"""Items of a turn as chunks and as one completion: both say the same, or fail alike."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from chatd.adapters.completions.chunks import ChunkWriter
from chatd.adapters.completions.completion import CompletionHead
from chatd.adapters.completions.whole import whole_completion
from chatd.adapters.openai_errors import TurnError
from chatd.adapters.turn_items import (
    ActionRequired,
    ChatDeleted,
    PartBegan,
    PartDelta,
    PartEnded,
    Retrying,
    StepBegan,
    StepEnded,
    StepVoided,
    ToolResult,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnItem,
    TurnSuperseded,
)
from chatd.domain.chat import Usage
from chatd.domain.message import Message, Part, Role

HEAD = CompletionHead(
    id="chatcmpl-1", created=1, model="100% [] %b", client_tools=frozenset({"weather"})
)
NOW = datetime.now(UTC)
SOURCE = {"type": "source", "url": "https://e.example/a", "title": "A"}
SKY = {"type": "tool-call", "tool_call_id": "s1", "tool_name": "sky", "args": "{}"}
WEATHER = {"type": "tool-call", "tool_call_id": "c1", "tool_name": "weather", "args": '{"a": 1}'}
RETRYING = Retrying(1, 0.1, {"kind": "overloaded"})


def text(words: str) -> Part:
    return {"type": "text", "text": words}


def began(number: int, *parts: Part) -> list[TurnItem]:
    """Return the items of a step that is under way, its texts in two deltas each."""
    items: list[TurnItem] = [StepBegan(number)]
    for index, part in enumerate(parts):
        words = part.get("text", part.get("args", ""))
        shell = {key: value for key, value in part.items() if key not in {"text", "args"}}
        items.append(PartBegan(number, index, shell))
        items += [PartDelta(number, index, piece) for piece in (words[:2], words[2:]) if piece]
        items.append(PartEnded(number, index, part))
    return items


def step(number: int, *parts: Part) -> list[TurnItem]:
    """Return the items of a whole step."""
    message = Message(
        id=number,
        chat_id=UUID(int=1),
        version=number,
        role=Role.ASSISTANT,
        content=parts,
        model_config_id=None,
        usage=Usage(input_tokens=3, output_tokens=2, cache_read_tokens=1, reasoning_tokens=1),
        finish_reason=None,
        created_at=NOW,
    )
    return [*began(number, *parts), StepEnded(number, message)]


def asked(kind: str, call: Part) -> ActionRequired:
    return ActionRequired([{**call, "kind": kind}], NOW)


def written(items: Sequence[TurnItem], **options: Any) -> list[dict[str, Any]]:
    """Return the objects of a stream, without ``[DONE]``. Every chunk is of the client's type."""
    writer = ChunkWriter(HEAD, includes_usage=True, **options)
    data = b"".join(map(writer.spell, items)).decode()
    lines = [line.removeprefix("data: ") for line in data.split("\n\n") if line]
    objects = [json.loads(line) for line in lines if line != "[DONE]"]
    assert (lines[-1] == "[DONE]") is (writer.error is None)
    for each in objects:
        if "error" not in each:
            ChatCompletionChunk.model_validate(each, strict=True)
    return objects


def told(objects: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """Return the text, the calls, the citations and the finish reason that a client puts together."""
    words, citations, reason = "", 0, None
    calls: dict[int, list[str]] = {}
    for choice in (choice for each in objects for choice in each.get("choices", ())):
        delta = choice["delta"]
        words += delta.get("content", "")
        citations += len(delta.get("annotations", ()))
        reason = choice["finish_reason"] or reason
        for call in delta.get("tool_calls", ()):
            place = calls.setdefault(call["index"], ["", ""])
            place[0] += call.get("id", "")
            place[1] += call["function"]["arguments"]
    return words, [*calls.values()], citations, reason


WHOLE = {
    "text": ([*step(0, text("hello")), TurnFinished("stop")], ("hello", [], 0, "stop")),
    "server tool": (
        [
            *step(0, text("Let me see. "), SKY),
            ToolResult(0, {"type": "tool-result", "tool_call_id": "s1", "result": "blue"}),
            *step(1, text("Blue."), SOURCE),
            TurnFinished("stop"),
        ],
        ("Let me see. Blue.", [], 1, "stop"),
    ),
    "client tool": (
        [*step(0, text("Look: "), WEATHER), asked("result", WEATHER)],
        ("Look: ", [["c1", '{"a": 1}']], 0, "tool_calls"),
    ),
    "length": ([*step(0, text("so")), TurnFinished("length")], ("so", [], 0, "length")),
    "interrupted": ([*step(0, text("half")), TurnInterrupted()], ("half", [], 0, "stop")),
    "nothing": ([TurnInterrupted()], ("", [], 0, "stop")),
    "failed before": (
        [StepBegan(0), RETRYING, StepVoided(0), *step(0, text("hello")), TurnFinished("stop")],
        ("hello", [], 0, "stop"),
    ),
}


@pytest.mark.parametrize("holds_steps", [False, True], ids=["live", "held"])
@pytest.mark.parametrize("name", WHOLE)
def test_stream_and_whole_completion_say_the_same(name: str, *, holds_steps: bool) -> None:
    items, expected = WHOLE[name]
    chunks = written(items, holds_steps=holds_steps)
    assert told(chunks) == expected
    completion = whole_completion(items, HEAD)
    assert isinstance(completion, dict)
    whole = ChatCompletion.model_validate(completion, strict=True)
    (choice,) = whole.choices
    calls = [
        [c.id, c.function.arguments]
        for c in choice.message.tool_calls or ()
        if c.type == "function"
    ]
    annotations = choice.message.annotations or []
    assert (choice.message.content or "", calls, len(annotations), choice.finish_reason) == expected
    assert completion["usage"] == chunks[-1]["usage"]
    steps = sum(isinstance(item, StepEnded) for item in items)
    assert completion["usage"]["total_tokens"] == 5 * steps


@pytest.mark.parametrize(
    ("items", "status", "code"),
    [
        ([TurnFailed("quota", "No credit.")], 429, "insufficient_quota"),
        ([TurnFailed("context_overflow", "Too long.")], 400, "context_length_exceeded"),
        ([TurnFailed("network", "No route.")], 502, "network"),
        ([TurnFailed("panic", "A bug.")], 500, "panic"),
        ([*step(0, text("a")), TurnSuperseded()], 409, "superseded"),
        ([ChatDeleted()], 410, "chat_gone"),
        ([*step(0, SKY), asked("approval", SKY)], 409, "approval_required"),
        ([*step(0, SKY), asked("input", SKY)], 409, "approval_required"),
    ],
)
def test_turn_without_a_whole_answer_fails_alike(
    items: list[TurnItem], status: int, code: str
) -> None:
    error = whole_completion(items, HEAD)
    assert isinstance(error, TurnError)
    assert (error.status, error.code) == (status, code)
    assert written(items)[-1] == error.object()


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ([*began(0, text("half")), StepVoided(0), *step(0, text("whole"))], "answer_restarted"),
        ([*began(0, text("half")), StepVoided(0), RETRYING], "answer_restarted"),
        ([*began(0, text("half")), StepVoided(0), TurnFailed("quota", "x")], "insufficient_quota"),
        ([*began(0, WEATHER), *step(0, text("else"))[-1:], TurnInterrupted()], "answer_restarted"),
    ],
)
def test_words_that_do_not_count_end_the_stream(items: list[TurnItem], code: str) -> None:
    objects = written([*items, TurnFinished("stop")])
    assert objects[-1]["error"]["code"] == code
    assert told(objects)[-1] is None, "nothing ends as if it were whole"


def test_held_steps_are_sent_without_their_voids() -> None:
    items = [
        *began(0, text("wrong"), WEATHER),
        StepVoided(0),
        *step(0, text("right "), SKY),
        *step(1, WEATHER),
        asked("result", WEATHER),
    ]
    assert told(written(items, holds_steps=True)) == (
        "right ",
        [["c1", '{"a": 1}']],
        0,
        "tool_calls",
    )
