"""Tool calls of chat completions as servers spell them."""

import pytest
from support.field_cases import (
    ANTHROPIC,
    DONE,
    VARIATION,
    FieldCase,
    chunk,
    run_case,
    run_split_case,
    sse,
    tool_call,
)

from chatd.domain.failure import FailureKind

A, B = '{"q":"a"}', '{"q":"b"}'


def row(name: str, report: str, *deltas: object, **more: object) -> FieldCase:
    """Return a case whose chunks hold these lists of pieces of tool calls."""
    pieces = [*(chunk({"tool_calls": delta}) for delta in deltas), chunk({}, "tool_calls"), DONE]
    more = {"reason": "tool_call", **more}
    return FieldCase(name=name, report=report, pieces=pieces, **more)


def without(piece: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in piece.items() if name != key}


TWO = [("f", A), ("f", B)]
CASES = [
    row(
        "two calls",
        "openai docs",
        [tool_call(0, "c1", "f"), tool_call(1, "c2", "f")],
        [tool_call(0, args=A), tool_call(1, args=B)],
        calls=TWO,
        ids=["c1", "c2"],
    ),
    row(
        "all at index 0, with ids",
        "vercel/ai#14277",
        [tool_call(0, "c1", "f", A)],
        [tool_call(0, "c2", "f", B)],
        calls=TWO,
        ids=["c1", "c2"],
    ),
    row(
        "all at index 0 in one chunk",
        "NousResearch/hermes-agent#3468",
        [tool_call(0, "c1", "f", A), tool_call(0, "c2", "f", B)],
        calls=TWO,
        ids=["c1", "c2"],
    ),
    row(
        "all at index 0, arguments in pieces",
        "BerriAI/litellm#16194",
        [tool_call(0, "c1", "f", '{"q"')],
        [tool_call(0, args=':"a"}')],
        [tool_call(0, "c2", "f", '{"q"')],
        [tool_call(0, args=':"b"}')],
        calls=TWO,
    ),
    row(
        "all at index 0, the name after the arguments begin",
        VARIATION,
        [tool_call(0, "c1", "f", A)],
        [tool_call(0, "c2", None, '{"q"')],
        [tool_call(0, "c2", "f", ':"b"}')],
        calls=TWO,
        ids=["c1", "c2"],
    ),
    row(
        "all at index 0 without ids",
        "su-kaka/gcli2api#406",
        [tool_call(0, None, "f", A)],
        [tool_call(0, None, "f", B)],
        calls=TWO,
    ),
    row(
        "all at index 0 with empty ids",
        "su-kaka/gcli2api#406",
        [tool_call(0, "", "f", A)],
        [tool_call(0, "", "f", B)],
        calls=TWO,
    ),
    row(
        "no index",
        "ollama/ollama#7881",
        [
            without(tool_call(0, "c1", "f", A), "index"),
            without(tool_call(0, "c2", "f", B), "index"),
        ],
        calls=TWO,
        ids=["c1", "c2"],
    ),
    row(
        "no index, arguments in pieces",
        "openai/openai-python#3246",
        [without(tool_call(0, "c1", "f", '{"q"'), "index")],
        [without(tool_call(0, None, None, ':"a"}'), "index")],
        calls=[("f", A)],
    ),
    row(
        "null for an index",
        "chatanywhere/GPT_API_free#254",
        [tool_call(None, "c1", "f", A)],
        calls=[("f", A)],
    ),
    row(
        "index from 1",
        "microsoft/foundry-local#372",
        [tool_call(1, "c1", "f", A)],
        calls=[("f", A)],
    ),
    row(
        "index as text", "Oaklight/llm-rosetta#57", [tool_call("0", "c1", "f", A)], calls=[("f", A)]
    ),
    row(
        "arguments as an object",
        "ollama/ollama#7881",
        [tool_call(0, "c1", "f", {"q": 1})],
        calls=[("f", '{"q": 1}')],
    ),
    row(
        "null for arguments",
        "ollama/ollama#7881",
        [tool_call(0, "c1", "f", None)],
        calls=[("f", "")],
    ),
    row("id as a number", VARIATION, [tool_call(0, 7, "f", A)], ids=["7"]),
    row(
        "another id with each piece",
        VARIATION,
        [tool_call(0, "c1", "f", '{"q"')],
        [tool_call(0, "c2", None, ':"a"}')],
        calls=[("f", A)],
        ids=["c1"],
    ),
    row(
        "name with each piece",
        "xorbitsai/inference#3634",
        [tool_call(0, "c1", "f", '{"q"')],
        [tool_call(0, "c1", "f", ':"a"}')],
        calls=[("f", A)],
        ids=["c1"],
    ),
    row(
        "empty name and id with each piece",
        "sgl-project/sglang#6715",
        [tool_call(0, "c1", "f", '{"q"')],
        [tool_call(0, "", "", ':"a"}')],
        calls=[("f", A)],
        ids=["c1"],
    ),
    row("no name", "earendil-works/pi#8462", [tool_call(0, "c1", None, A)], calls=[]),
    row(
        "name null",
        "earendil-works/pi#8462",
        [{"index": 0, "id": "c1", "function": {"name": None}}],
        calls=[],
    ),
    row(
        "function null",
        "earendil-works/pi#8462",
        [{"index": 0, "id": "c1", "function": None}],
        calls=[],
    ),
    row("no call", "dust-tt/dust#29534", [], calls=[]),
    row("null for calls", "sgl-project/sglang#3912", None, calls=[]),
    row(
        "arguments as a list",
        "ollama/ollama#7881",
        [tool_call(0, "c", "f", [1])],
        failure=FailureKind.PROVIDER_ERROR,
    ),
    row("calls as an object", "ollama/ollama#7881", {"a": 1}, failure=FailureKind.PROVIDER_ERROR),
    FieldCase(
        name="function_call of old",
        report="openai docs: function_call",
        pieces=[
            chunk({"function_call": {"name": "f", "arguments": '{"q"'}}),
            chunk({"function_call": {"arguments": ':"a"}'}}),
            chunk({}, "function_call"),
            DONE,
        ],
        calls=[("f", A)],
        reason="tool_call",
    ),
    FieldCase(
        name="call and text in one chunk",
        report="ollama/ollama#7881",
        pieces=[
            chunk({"content": "Hm.", "tool_calls": [tool_call(0, "c1", "f", A)]}, "stop"),
            DONE,
        ],
        text="Hm.",
        calls=[("f", A)],
        reason="tool_call",
    ),
    FieldCase(
        name="Anthropic's blocks at one index",
        report="BerriAI/litellm#12481",
        kind=ANTHROPIC,
        pieces=[
            sse(event, event=str(event["type"]))
            for event in (
                {"type": "message_start", "message": {"id": "m"}},
                {
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "text", "text": ""},
                },
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "Hm."},
                },
                {"type": "content_block_stop", "index": 0},
                {
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "tool_use", "id": 5, "name": "f"},
                },
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "input_json_delta", "partial_json": A},
                },
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
                {"type": "message_stop"},
            )
        ],
        text="Hm.",
        calls=[("f", A)],
        ids=["5"],
        reason="tool_call",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_tool_calls(case: FieldCase) -> None:
    await run_case(case)


@pytest.mark.parametrize("case", CASES[:3], ids=str)
async def test_tool_calls_byte_by_byte(case: FieldCase) -> None:
    await run_split_case(case)
