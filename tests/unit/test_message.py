"""Streamed fragments fold to content parts, however they are batched."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.message import fold, text_of

_texts = st.text(max_size=5)
_fragment = st.integers(0, 3).flatmap(
    lambda index: st.fixed_dictionaries(
        {"index": st.just(index), "type": st.just("text" if index % 2 else "tool-call")},
        optional={
            "args" if index % 2 == 0 else "text": _texts,
            "tool_name": _texts,
            "provider": st.dictionaries(_texts, _texts, max_size=2),
        },
    )
)
_stream = st.lists(_fragment, max_size=20)


def _again(content: tuple[Any, ...], fragments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The folded parts as fragments of their own, as a batch writer stores them."""
    indices = sorted({fragment["index"] for fragment in fragments})
    return [{"index": index, **part} for index, part in zip(indices, content, strict=True)]


@given(_stream, st.data())
def test_folding_is_associative(
    fragments: list[dict[str, Any]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(fragments)))
    before, after = fragments[:cut], fragments[cut:]
    left, right = _again(fold(before), before), _again(fold(after), after)
    assert fold([*left, *right]) == fold([*left, *after]) == fold([*before, *right])
    assert fold([*left, *right]) == fold(fragments)


@given(_stream)
def test_folding_keeps_every_character(fragments: list[dict[str, Any]]) -> None:
    said = sum(len(fragment.get("text", "")) for fragment in fragments)
    assert len(text_of(part for part in fold(fragments) if "text" in part)) == said


def test_folded_parts_are_ordered_by_index() -> None:
    fragments = [
        {"index": 2, "type": "text", "text": "b"},
        {"index": 0, "type": "text", "text": "a"},
    ]
    assert text_of(fold(fragments)) == "ab"
