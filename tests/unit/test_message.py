"""Deltas fold to content parts, however they are batched."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.message import fold, text_of

_texts = st.text(max_size=5)
_delta = st.integers(0, 3).flatmap(
    lambda index: st.fixed_dictionaries(
        {"index": st.just(index), "type": st.just("text" if index % 2 else "tool-call")},
        optional={
            "args" if index % 2 == 0 else "text": _texts,
            "tool_name": _texts,
            "provider": st.dictionaries(_texts, _texts, max_size=2),
        },
    )
)
_stream = st.lists(_delta, max_size=20)


def _as_deltas(content: tuple[Any, ...], deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return folded parts as deltas of their own, as a batch writer stores them."""
    indices = sorted({delta["index"] for delta in deltas})
    return [{"index": index, **part} for index, part in zip(indices, content, strict=True)]


@given(_stream, st.data())
def test_folding_is_associative(deltas: list[dict[str, Any]], data: st.DataObject) -> None:
    split_at = data.draw(st.integers(0, len(deltas)))
    before, after = deltas[:split_at], deltas[split_at:]
    left, right = _as_deltas(fold(before), before), _as_deltas(fold(after), after)
    assert fold([*left, *right]) == fold([*left, *after]) == fold([*before, *right])
    assert fold([*left, *right]) == fold(deltas)


@given(_stream)
def test_folding_keeps_every_character(deltas: list[dict[str, Any]]) -> None:
    length = sum(len(delta.get("text", "")) for delta in deltas)
    assert len(text_of(part for part in fold(deltas) if "text" in part)) == length


def test_folded_parts_are_ordered_by_index() -> None:
    deltas = [
        {"index": 2, "type": "text", "text": "b"},
        {"index": 0, "type": "text", "text": "a"},
    ]
    assert text_of(fold(deltas)) == "ab"
