"""Usage as servers report it: a count that is odd never costs the answer."""

import pytest
from support.field_cases import (
    ANTHROPIC,
    DONE,
    RESPONSES,
    STOP,
    VARIATION,
    FieldCase,
    chunk,
    run_case,
    sse,
    text,
)

from chatd.domain.chat import Usage
from chatd.llm.vendors.wire.usage import MAX_TOKENS


def usage(prompt: object, completion: object, **more: object) -> dict[str, object]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def alone(counts: object) -> bytes:
    """Return a chunk with usage and without choices."""
    return sse({"object": "chat.completion.chunk", "choices": [], "usage": counts})


def row(name: str, report: str, counts: object, *pieces: bytes) -> FieldCase:
    expected = Usage(*counts) if isinstance(counts, tuple) else counts
    pieces = (text("Hi"), *pieces, DONE)
    return FieldCase(
        name=name, report=report, pieces=pieces, text="Hi", reason="stop", usage=expected
    )


def odd(name: str, report: str, counts: tuple[int, ...], sent: object) -> FieldCase:
    return row(name, report, counts, STOP, alone(sent))


CASES = [
    odd("regular", "openai docs", (11, 5), usage(11, 5, total_tokens=16)),
    odd("fractions", "BerriAI/litellm#28024", (10, 4), usage(10.4, 3.6)),
    odd("text", "TheoLvs/easyllm#40", (10, 3), usage("10", "3")),
    odd("text that is no number", VARIATION, (0, 3), usage("ten", 3)),
    odd("a long text", VARIATION, (0, 3), usage("9" * 5000, 3)),
    odd("more than int4", VARIATION, (MAX_TOKENS, 3), usage(2**31, 3)),
    odd("more than int8", VARIATION, (MAX_TOKENS, 3), usage(2**80, 3)),
    odd("infinity", VARIATION, (MAX_TOKENS, 3), usage(float("inf"), 3)),
    odd("no number", VARIATION, (0, 3), usage(float("nan"), 3)),
    odd("negative", VARIATION, (0, 3), usage(-1, 3)),
    odd("null counts", VARIATION, (0, 3), usage(None, 3)),
    odd("truth values", VARIATION, (0, 3), usage(True, 3)),
    odd("objects", VARIATION, (0, 3), usage({"a": 1}, 3)),
    odd("an empty object", VARIATION, (0, 0), {}),
    odd("a list", VARIATION, (0, 0), [1, 2]),
    odd("a text", VARIATION, (0, 0), "none"),
    odd("missing", "openai docs: include_usage", (0, 0), None),
    odd(
        "details",
        "openai docs",
        (11, 5, 3, 0, 2),
        usage(
            11,
            5,
            prompt_tokens_details={"cached_tokens": 3},
            completion_tokens_details={"reasoning_tokens": 2},
        ),
    ),
    odd("details of odd types", "Nebius", (11, 5), usage(11, 5, prompt_tokens_details=[], x="y")),
    odd("DeepSeek's cache", "DeepSeek docs", (11, 5, 3), usage(11, 5, prompt_cache_hit_tokens=3)),
    odd(
        "Anthropic's names",
        "BerriAI/litellm#16194",
        (11, 5),
        {"input_tokens": 11, "output_tokens": 5},
    ),
    row(
        "running totals",
        "tensorzero/tensorzero#5481",
        (10, 3),
        *(chunk({"content": ""}, usage=usage(10, count)) for count in (1, 2, 3)),
        chunk({}, "stop", usage=usage(10, 3)),
    ),
    row(
        "on the last chunk and again alone",
        "open-webui/open-webui#29064",
        (10, 3),
        chunk({}, "stop", usage=usage(10, 3)),
        alone(usage(10, 3)),
    ),
    row(
        "zero on the chunks after it",
        "pydantic/pydantic-ai#7913",
        (10, 3),
        chunk({}, "stop", usage=usage(10, 3)),
        alone(usage(0, 0)),
    ),
    row(
        "within the choice",
        "Moonshot docs",
        (10, 3),
        chunk({}, "stop").replace(
            b'"delta"', b'"usage":{"prompt_tokens":10,"completion_tokens":3},"delta"'
        ),
    ),
    row(
        "Groq's own place", "Groq docs", (10, 3), chunk({}, "stop", x_groq={"usage": usage(10, 3)})
    ),
]


def anthropic(name: str, expected: Usage, start: object, end: object) -> FieldCase:
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": "Hi"},
    }
    events = [
        {"type": "message_start", "message": {"id": "m", "usage": start}},
        block,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
        {"type": "message_stop"},
    ]
    return FieldCase(
        name=name,
        report="Anthropic docs",
        kind=ANTHROPIC,
        pieces=[sse(event, event=str(event["type"])) for event in events],
        text="Hi",
        usage=expected,
    )


CACHED = {"input_tokens": 3, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
ANTHROPIC_CASES = [
    anthropic(
        "regular", Usage(11, 5), {"input_tokens": 11, "output_tokens": 1}, {"output_tokens": 5}
    ),
    anthropic(
        "input repeated at the end",
        Usage(11, 5),
        {"input_tokens": 11},
        usage(0, 0) | {"input_tokens": 11, "output_tokens": 5},
    ),
    anthropic("cache", Usage(123, 5, 100, 20), CACHED, {"output_tokens": 5}),
    anthropic("odd types", Usage(0, 0), {"input_tokens": "many"}, {"output_tokens": None}),
    anthropic("none", Usage(0, 0), None, None),
    anthropic(
        "too large",
        Usage(MAX_TOKENS, 0, 5),
        {"input_tokens": 2**40, "cache_read_input_tokens": 5},
        {},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_usage_of_a_chat_completion(case: FieldCase) -> None:
    await run_case(case)


@pytest.mark.parametrize("case", ANTHROPIC_CASES, ids=str)
async def test_usage_of_an_anthropic_message(case: FieldCase) -> None:
    await run_case(case)


@pytest.mark.parametrize(
    "counts", [{"input_tokens": 2.5, "output_tokens": "x"}, [], None, 7], ids=repr
)
async def test_usage_of_a_response(counts: object) -> None:
    expected = Usage(2, 0) if isinstance(counts, dict) else Usage()
    events = [
        {"type": "response.output_text.delta", "item_id": "m", "delta": "Hi"},
        {"type": "response.completed", "response": {"status": "completed", "usage": counts}},
    ]
    await run_case(
        FieldCase(
            name="odd",
            report="BerriAI/litellm#28024",
            kind=RESPONSES,
            pieces=[sse(event) for event in events],
            text="Hi",
            reason="stop",
            usage=expected,
        )
    )
