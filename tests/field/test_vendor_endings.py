"""How answers of Anthropic and of OpenAI's Responses API end, and what it means."""

import pytest
from support.field_cases import ANTHROPIC, CUT, RESPONSES, FieldCase, run_case, sse

from chatd.domain.failure import FailureKind


def claude(*events: dict[str, object], **more: object) -> FieldCase:
    start = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3}}}
    begin = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    delta = {"type": "text_delta", "text": "Hello"}
    body = [start, begin, {"type": "content_block_delta", "index": 0, "delta": delta}]
    pieces = [sse(event, event=str(event["type"])) for event in (*body, *events)]
    more = {"text": "Hello", "report": "Anthropic docs: streaming", **more}
    return FieldCase(kind=ANTHROPIC, pieces=pieces, **more)


def claude_stop(reason: object) -> dict[str, object]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason},
        "usage": {"output_tokens": 2},
    }


STOPPED: dict[str, object] = {"type": "message_stop"}
ANTHROPIC_CASES = (
    claude(claude_stop("end_turn"), STOPPED, name="end_turn", reason="stop"),
    claude(claude_stop("end_turn"), name="no message_stop", reason="stop"),
    claude(STOPPED, name="no message_delta", reason="stop", report="BerriAI/litellm#12481"),
    claude(claude_stop(None), STOPPED, name="null reason", reason="stop"),
    claude(claude_stop(None), name="null reason and a cut", reason=CUT),
    claude(name="neither", reason=CUT),
    claude(claude_stop("max_tokens"), STOPPED, name="max_tokens", reason="length"),
    claude(claude_stop("refusal"), STOPPED, name="refusal", reason="refusal"),
    claude(claude_stop("pause_turn"), STOPPED, name="pause_turn", reason="pause_turn"),
    claude(
        claude_stop("model_context_window_exceeded"),
        STOPPED,
        name="window exceeded",
        reason="length",
    ),
    claude(STOPPED, name="no content_block_stop", reason="stop"),
)


def openai(kind: str, response: dict[str, object] | None, **more: object) -> FieldCase:
    delta = {
        "type": "response.output_text.delta",
        "item_id": "m1",
        "output_index": 0,
        "delta": "Hello",
    }
    item = {"type": "message", "id": "m1", "role": "assistant", "content": []}
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        delta,
    ]
    if kind:
        events.append({"type": kind, "response": response})
    pieces = [sse(event, event=str(event["type"])) for event in events]
    more = {"text": "Hello", "report": "openai docs: responses", **more}
    return FieldCase(kind=RESPONSES, pieces=pieces, **more)


INCOMPLETE = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
FILTERED = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
QUOTA = {"status": "failed", "error": {"code": "insufficient_quota", "message": "No credit."}}
RESPONSES_CASES = (
    openai("response.completed", {"status": "completed"}, name="completed", reason="stop"),
    openai(
        "response.completed", {"output": None}, name="completed without a status", reason="stop"
    ),
    openai("response.completed", None, name="completed without a response", reason="stop"),
    openai("response.done", {"status": "completed"}, name="done", reason="stop"),
    openai("response.incomplete", INCOMPLETE, name="incomplete: length", reason="length"),
    openai("response.incomplete", {}, name="incomplete without details", reason="length"),
    openai("response.completed", INCOMPLETE, name="completed, yet incomplete", reason="length"),
    openai("response.incomplete", FILTERED, name="incomplete: filter", reason="content_filter"),
    openai("response.failed", QUOTA, name="failed: quota", failure=FailureKind.QUOTA),
    openai("response.failed", {}, name="failed", failure=FailureKind.PROVIDER_ERROR),
    openai("response.cancelled", {}, name="cancelled", failure=FailureKind.PROVIDER_ERROR),
    openai("", None, name="cut", reason=CUT),
)


@pytest.mark.parametrize("case", ANTHROPIC_CASES, ids=str)
async def test_end_of_an_anthropic_message(case: FieldCase) -> None:
    await run_case(case)


@pytest.mark.parametrize("case", RESPONSES_CASES, ids=str)
async def test_end_of_a_response(case: FieldCase) -> None:
    await run_case(case)
