"""Images of tools on the wire: in the result, after it, or in words, as the provider takes them."""

import json
from typing import Any

import pytest
from support.captured_requests import CapturingProvider
from support.files import file_part, whole_png
from support.provider_cases import message, text_part
from support.request_rules import DIALECTS, violations

from chatd.domain.message import Message, Part, Role
from chatd.llm.vendors.history import UserTurn, acceptable_history
from chatd.llm.vendors.history_rules import DEEPSEEK

KINDS = ("openai", "anthropic", "openai-compatible", "mistral")
USER = message(1, Role.USER, text_part("Draw."))
ANSWER = message(1, Role.ASSISTANT, text_part("Look."))


def image(number: int = 0, *, size: int = 100) -> Part:
    return file_part("image/png", whole_png(size + number))


def calls(*ids: str) -> Message:
    parts = [
        {"type": "tool-call", "tool_call_id": id_, "tool_name": "draw", "args": "{}"} for id_ in ids
    ]
    return message(1, Role.ASSISTANT, *parts)


def results(*given: tuple[str, list[Part]], text: str = "[image 1]") -> Message:
    parts = [
        {"type": "tool-result", "tool_call_id": id_, "result": text, "files": files}
        for id_, files in given
    ]
    return message(1, Role.TOOL, *parts)


async def body_of(kind: str, *history: Message) -> dict[str, Any]:
    provider = CapturingProvider(kind, name="acme")
    try:
        body = await provider.body(history)
    finally:
        await provider.aclose()
    assert violations(body, DIALECTS[kind]) == []
    return body


HISTORY = (USER, calls("c1", "c2"), results(("c2", [image()]), ("c1", [])))


async def test_anthropic_reads_the_image_in_the_result() -> None:
    body = await body_of("anthropic", *HISTORY)
    first, second = body["messages"][-1]["content"]
    assert [block["type"] for block in second["content"]] == ["text", "image"]
    assert second["content"][1]["source"]["media_type"] == "image/png"
    assert [block["type"] for block in first["content"]] == ["text"]


async def test_responses_read_the_image_in_the_output() -> None:
    body = await body_of("openai", *HISTORY)
    first, second = [item for item in body["input"] if item.get("type") == "function_call_output"]
    assert first["output"] == "[image 1]"
    assert [part["type"] for part in second["output"]] == ["input_text", "input_image"]
    assert second["output"][1]["image_url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("kind", ["openai-compatible", "mistral"])
@pytest.mark.parametrize("after", [[], [ANSWER], [USER]])
async def test_chat_completions_see_the_image_after_the_results(
    kind: str, after: list[Message]
) -> None:
    body = await body_of(kind, *HISTORY, *after)
    roles = [each["role"] for each in body["messages"]]
    assert roles[:6] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    shown = body["messages"][5]["content"]
    assert [part["type"] for part in shown[:2]] == ["text", "image_url"]
    assert shown[0]["text"] == "Images of draw:"


async def test_provider_without_images_gets_words() -> None:
    history = acceptable_history(HISTORY, provider="acme", rules=DEEPSEEK, file_texts={})
    assert not [turn for turn in history.turns[1:] if isinstance(turn, UserTurn)]
    text = json.dumps([turn.results for turn in history.turns[1:]])  # type: ignore[union-attr]
    assert "There was a file of type image/png, which the model's provider does not take" in text


@pytest.mark.parametrize("kind", KINDS)
async def test_failed_result_has_its_image_too(kind: str) -> None:
    part = {**results(("c1", [image()])).content[0], "is_error": True}
    body = await body_of(kind, USER, calls("c1"), message(1, Role.TOOL, part))
    assert "image" in json.dumps(body["messages"] if "messages" in body else body["input"])


@pytest.mark.parametrize("kind", KINDS)
async def test_newest_images_are_sent_and_others_named(kind: str) -> None:
    history = [USER]
    for number in range(25):
        history += [calls(f"c{number}"), results((f"c{number}", [image(number)]))]
    body = json.dumps(await body_of(kind, *history))
    assert body.count("which is not shown again") == 5
    large = [results(("c1", [image(n, size=3_900_000) for n in range(6)]))]
    body = json.dumps(await body_of(kind, USER, calls("c1"), *large))
    assert body.count("which is not shown again") == 2
