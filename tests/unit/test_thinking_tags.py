"""Reasoning in tags: only at the very start of an answer, wherever the pieces are cut."""

from collections.abc import AsyncGenerator

import pytest

from chatd.domain.chat import Usage
from chatd.domain.message import Part, fold
from chatd.llm.provider import Delta, Finished, PartDelta
from chatd.llm.vendors.thinking_tags import TAGGED_MODELS, split_thinking

END = Finished("stop", Usage())


async def split(*parts: Part) -> list[tuple[str, str]]:
    async def deltas() -> AsyncGenerator[Delta]:
        for part in parts:
            yield PartDelta(part)
        yield END

    out = [delta async for delta in split_thinking(deltas())]
    assert out[-1] is END
    content = fold(delta.part for delta in out if isinstance(delta, PartDelta))
    return [(part["type"], part.get("text", part.get("tool_name", ""))) for part in content]


def text(value: str) -> Part:
    return {"index": 0, "type": "text", "text": value}


CALL: Part = {"index": 1, "type": "tool-call", "tool_call_id": "c", "tool_name": "f", "args": "{}"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<think>Hm.</think>\n\nYes.", [("reasoning", "Hm."), ("text", "Yes.")]),
        ("\n<think>\nHm. < 5</think>Yes.", [("reasoning", "\nHm. < 5"), ("text", "Yes.")]),
        ("<think></think>Yes.", [("text", "Yes.")]),
        (
            "<think>Hm.</think>Use <think>x</think>.",
            [("reasoning", "Hm."), ("text", "Use <think>x</think>.")],
        ),
        ("Use <think> here.", [("text", "Use <think> here.")]),
        ("<thin", [("text", "<thin")]),
        ("<thinking>x", [("text", "<thinking>x")]),
        ("<think>cut </thi", [("reasoning", "cut </thi")]),
        (" \n", [("text", " \n")]),
    ],
)
async def test_tags_at_the_start_are_reasoning(
    answer: str, expected: list[tuple[str, str]]
) -> None:
    for size in range(1, len(answer) + 1):
        pieces = [text(answer[at : at + size]) for at in range(0, len(answer), size)]
        assert await split(*pieces) == expected, size


async def test_parts_that_follow_keep_their_order() -> None:
    tool = ("tool-call", "f")
    assert await split(text("<think>Hm.</think>Yes."), CALL) == [
        ("reasoning", "Hm."),
        ("text", "Yes."),
        tool,
    ]
    assert await split(text("<think>Hm."), CALL) == [("reasoning", "Hm."), tool]
    assert await split(text("Yes."), CALL) == [("text", "Yes."), tool]
    assert await split(
        {"index": 0, "type": "reasoning", "text": "Hm."}, {**text("<think>"), "index": 1}
    ) == [
        ("reasoning", "Hm."),
        ("text", "<think>"),
    ]


@pytest.mark.parametrize("model", ["deepseek-r1:8b", "Qwen/QwQ-32B", "qwen3:4b", "magistral-small"])
def test_models_known_for_tags(model: str) -> None:
    assert TAGGED_MODELS.search(model)


@pytest.mark.parametrize("model", ["llama3.2", "gpt-4o", "mistral-small", "gemma3", "fake"])
def test_other_models(model: str) -> None:
    assert not TAGGED_MODELS.search(model)
