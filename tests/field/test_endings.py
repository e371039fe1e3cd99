"""How answers end: each end that servers were seen to send, and what it means."""

import pytest
from support.field_cases import (
    CUT,
    DONE,
    VARIATION,
    FieldCase,
    chunk,
    run_case,
    text,
    tool_call,
)
from support.model_server import End

from chatd.domain.failure import FailureKind
from chatd.llm.vendors.wire.endings import ENDINGS, MAX_REASON_LENGTH, Verdict, ending_of

HELLO = text("Hel", "lo")


def chat(name: str, report: str, *pieces: bytes, reason: str, **more: object) -> FieldCase:
    return FieldCase(
        name=name,
        report=report,
        pieces=pieces,
        text="Hello",
        reason=reason,
        **more,
    )


CHAT_CASES = (
    chat(
        "reason with an empty delta", "openai docs", HELLO, chunk({}, "stop"), DONE, reason="stop"
    ),
    chat(
        "reason without a delta",
        VARIATION,
        HELLO,
        chunk(None, "stop"),
        DONE,
        reason="stop",
    ),
    chat(
        "reason with null for a delta",
        "Azure docs: asynchronous content filter",
        HELLO,
        chunk(None, "stop").replace(b'"delta": {}', b'"delta": null'),
        DONE,
        reason="stop",
    ),
    chat(
        "reason with the last text",
        "vllm-project/vllm#35705",
        text("Hel"),
        chunk({"content": "lo"}, "length"),
        DONE,
        reason="length",
    ),
    chat("reason without a terminator", "openai docs", HELLO, chunk({}, "stop"), reason="stop"),
    chat(
        "reason, then the connection closes",
        "openai docs",
        HELLO,
        chunk({}, "stop"),
        reason="stop",
        end=End.CUT,
    ),
    chat(
        "reason, then a server that never closes",
        "openai docs",
        HELLO,
        chunk({}, "stop"),
        DONE,
        reason="stop",
        end=End.HANG,
    ),
    chat(
        "terminator without a reason",
        "waybarrios/vllm-mlx#628",
        HELLO,
        chunk(),
        DONE,
        reason="stop",
    ),
    chat(
        "null reason, then the terminator",
        "vllm-project/vllm#27572",
        HELLO,
        chunk({}, None),
        DONE,
        reason="stop",
    ),
    chat(
        "empty reason on each chunk",
        "ollama/ollama#4357",
        chunk({"content": "Hel"}, ""),
        chunk({"content": "lo"}, ""),
        chunk({}, "stop"),
        DONE,
        reason="stop",
    ),
    chat(
        "empty reason on each chunk and no other",
        "sgl-project/sglang#3912",
        chunk({"content": "Hel"}, ""),
        chunk({"content": "lo"}, ""),
        DONE,
        reason="stop",
    ),
    chat(
        "another reason later",
        VARIATION,
        chunk({"content": "Hel"}, "stop"),
        chunk({"content": "lo"}, "length"),
        DONE,
        reason="length",
    ),
    chat(
        "the word null on each chunk",
        "Ai00-X/ai00_server#90",
        chunk({"content": "Hel"}, "null"),
        chunk({"content": "lo"}, "null"),
        chunk({}, "stop"),
        DONE,
        reason="stop",
    ),
    chat(
        "the word null, then a cut",
        "PowerShell/AIShell#350",
        chunk({"content": "Hello"}, "null"),
        reason=CUT,
    ),
    chat(
        "empty reason, then a cut",
        "mudler/LocalAI#5102",
        chunk({"content": "Hello"}, ""),
        reason=CUT,
    ),
    chat("neither reason nor terminator", "alfredapp/openai-workflow#52", HELLO, reason=CUT),
    chat("cut in the last event", "openai docs", HELLO, chunk({}, "stop")[:-20], reason=CUT),
    chat("a reason that is no text", "openai docs", HELLO, chunk({}, 7), DONE, reason="stop"),
    chat(
        "a word nobody knows",
        "langchain-ai/langchain#37370",
        HELLO,
        chunk({}, "###"),
        DONE,
        reason="###",
    ),
    chat("length", "openai docs", HELLO, chunk({}, "length"), DONE, reason="length"),
    chat(
        "content filter",
        "Azure docs",
        HELLO,
        chunk({}, "content_filter"),
        DONE,
        reason="content_filter",
    ),
    FieldCase(
        name="refusal in its own field",
        report="openai docs: refusals",
        pieces=[chunk({"refusal": "I can"}), chunk({"refusal": "not."}), chunk({}, "stop"), DONE],
        text="I cannot.",
        reason="refusal",
    ),
    FieldCase(
        name="tool call that ends with stop",
        report="BerriAI/litellm#12481",
        pieces=[
            chunk({"tool_calls": [tool_call(0, "c1", "f", "{}")]}),
            chunk({}, "end_turn"),
            DONE,
        ],
        calls=[("f", "{}")],
        reason="tool_call",
    ),
    FieldCase(
        name="terminator in the middle of a tool call",
        report="earendil-works/pi#8462",
        pieces=[chunk({"tool_calls": [tool_call(0, "c1", "f", '{"a')]}), DONE],
        reason=CUT,
    ),
)


def words(report: str, reason: str, *spellings: str) -> list[FieldCase]:
    return [
        chat(f"the word {word}", report, HELLO, chunk({}, word), DONE, reason=reason)
        for word in spellings
    ]


WORD_CASES = (
    *words("openai/openai-dotnet#267", "stop", "eos", "EOS"),
    *words("huggingface/text-generation-inference#2344", "stop", "eos_token", "stop_sequence"),
    *words("aws-samples/bedrock-access-gateway#11", "stop", "end_turn"),
    *words("earendil-works/pi#2107", "stop", "end"),
    *words("ferro-labs/ai-gateway#142", "length", "max_tokens", "MAX_TOKENS"),
    *words("ferro-labs/ai-gateway#142", "tool_call", "tool_use"),
    *words("Gemini docs: finishReason", "stop", "STOP"),
    *words("Gemini docs: finishReason", "content_filter", "SAFETY", "RECITATION", "BLOCKLIST"),
    *words("Mistral docs", "length", "model_length"),
    *words("earendil-works/pi#1509", "content_filter", "sensitive"),
    *words("Anthropic docs", "length", "model_context_window_exceeded"),
    *words("Anthropic docs", "refusal", "refusal"),
    *words("Anthropic docs", "pause_turn", "pause_turn"),
    *words("openai docs", "tool_call", "function_call"),
)

FAILED_WORDS = [
    FieldCase(
        name=f"the word {word}",
        report=report,
        pieces=[HELLO, chunk({}, word), DONE],
        failure=FailureKind.PROVIDER_ERROR,
    )
    for report, word in (
        ("earendil-works/pi#1509", "abort"),
        ("earendil-works/pi#1509", "network_error"),
        ("DeepSeek docs", "insufficient_system_resource"),
        ("OpenRouter docs", "error"),
        ("Gemini docs: finishReason", "MALFORMED_FUNCTION_CALL"),
    )
]


@pytest.mark.parametrize("case", [*CHAT_CASES, *WORD_CASES, *FAILED_WORDS], ids=str)
async def test_end_of_a_chat_completion(case: FieldCase) -> None:
    await run_case(case)


def test_reasons_of_the_table_name_one_verdict_each() -> None:
    verdicts = {(ending.reason, ending.verdict) for ending in ENDINGS.values()}
    assert len(verdicts) == len({reason for reason, _ in verdicts})
    assert {ending.verdict for ending in ENDINGS.values()} == set(Verdict)


def test_unknown_word_is_bounded() -> None:
    ending = ending_of("x" * 1000)
    assert ending is not None
    assert len(ending.reason) == MAX_REASON_LENGTH
