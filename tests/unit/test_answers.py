"""Answers of models: what is stored of one, and which are failures."""

import pytest
from support.files import file_part

from chatd.domain.failure import FailureKind
from chatd.domain.message import Part
from chatd.worker.answers import reason_to_reject, storable_content

TEXT = {"type": "text", "text": "Hi"}
BLANK = {"type": "text", "text": " \n"}
THOUGHT = {"type": "reasoning", "text": "Hm."}
FILE = file_part("image/png", b"hi")


def call(args: str = "{}", name: str = "f") -> Part:
    return {"type": "tool-call", "tool_call_id": "c", "tool_name": name, "args": args}


@pytest.mark.parametrize("args", ['{"a": "b', "{", '{"a": 1}{', "[1]", "5", "[" * 100_000])
def test_call_that_the_length_limit_cut_is_not_stored(args: str) -> None:
    content = (THOUGHT, TEXT, call('{"a": 1}'), call(args))
    assert storable_content(content, reason="length") == (THOUGHT, TEXT)
    assert storable_content(content, reason="tool_call") == content


@pytest.mark.parametrize("args", ["", "{}", '{"a": 1}'])
def test_complete_call_at_the_length_limit_is_stored(args: str) -> None:
    assert storable_content((TEXT, call(args)), reason="length") == (TEXT, call(args))


def test_call_without_a_name_is_not_stored() -> None:
    assert storable_content((TEXT, call(name="")), reason="tool_call") == (TEXT,)


@pytest.mark.parametrize("part", [TEXT, FILE, call()], ids=lambda part: part["type"])
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "refusal", "odd"])
def test_answer_with_something_in_it_is_accepted(part: Part, reason: str) -> None:
    assert reason_to_reject((THOUGHT, part), reason=reason) is None


@pytest.mark.parametrize("content", [(), (BLANK,), (THOUGHT,), (THOUGHT, BLANK)], ids=len)
@pytest.mark.parametrize(
    ("reason", "kind", "words"),
    [
        ("stop", FailureKind.PROVIDER_ERROR, "the model answered nothing"),
        ("tool_call", FailureKind.PROVIDER_ERROR, "the model answered nothing"),
        (
            "length",
            FailureKind.PROVIDER_ERROR,
            "the model reached its length limit before it answered",
        ),
        ("content_filter", FailureKind.CONTENT_FILTER, "the model refused to answer"),
        ("refusal", FailureKind.CONTENT_FILTER, "the model refused to answer"),
    ],
)
def test_answer_with_nothing_in_it_is_a_failure(
    content: tuple[Part, ...], reason: str, kind: FailureKind, words: str
) -> None:
    assert reason_to_reject(content, reason=reason) == (kind, words)
