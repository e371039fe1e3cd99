"""Answers that come as one JSON object although a stream was asked for."""

import json

import pytest
from support.field_cases import ANTHROPIC, DONE, RESPONSES, FieldCase, call, check_case, sse
from support.model_server import ModelResponse

COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {
    "choices": [{"message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}]
}
MESSAGE = {
    "type": "message",
    "content": [
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"q": 1}},
    ],
    "stop_reason": "tool_use",
}
RESPONSE = {
    "object": "response",
    "status": "completed",
    "error": None,
    "output": [
        {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Hello"}]},
        {"type": "function_call", "id": "x", "call_id": "c1", "name": "f", "arguments": "{}"},
    ],
}
WHOLE_CASES = [
    FieldCase(
        name="completion",
        report="openai docs",
        pieces=[json.dumps(COMPLETION).encode()],
        text="Hello",
        reason="stop",
    ),
    FieldCase(
        name="completion in lines",
        report="openai docs",
        pieces=[json.dumps(COMPLETION, indent=2).encode()],
        text="Hello",
        reason="stop",
    ),
    FieldCase(
        name="completion as one event",
        report="openai docs",
        pieces=[sse(COMPLETION), DONE],
        text="Hello",
        reason="stop",
    ),
    FieldCase(
        name="tool call",
        report="openai docs",
        pieces=[json.dumps(CALLING).encode()],
        calls=[("f", "{}")],
        ids=["c1"],
        reason="tool_call",
    ),
    FieldCase(
        name="message",
        report="Anthropic docs",
        kind=ANTHROPIC,
        pieces=[json.dumps(MESSAGE).encode()],
        text="Hello",
        calls=[("f", '{"q": 1}')],
        ids=["c1"],
        reason="tool_call",
    ),
    FieldCase(
        name="response",
        report="openai docs",
        kind=RESPONSES,
        pieces=[json.dumps(RESPONSE).encode()],
        text="Hello",
        calls=[("f", "{}")],
        ids=["c1"],
        reason="tool_call",
    ),
]


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("case", WHOLE_CASES, ids=str)
async def test_whole_answer_is_taken_as_it_is(case: FieldCase, content_type: str) -> None:
    outcome = await call(ModelResponse(pieces=case.pieces, content_type=content_type), case.kind)
    check_case(case, outcome)
