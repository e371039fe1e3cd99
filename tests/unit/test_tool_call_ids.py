"""Ids of tool calls: unique, valid and stable, whatever ids the model sends."""

from hypothesis import given
from hypothesis import strategies as st

from chatd.worker.tool_call_ids import MAX_TOOL_CALL_ID_LENGTH, ToolCallIds


def settled(*ids: object) -> list[str]:
    call_ids = ToolCallIds()
    return [
        call_ids.with_unique_id({"index": index, "type": "tool-call", "tool_call_id": given})[
            "tool_call_id"
        ]
        for index, given in enumerate(ids)
    ]


def test_valid_ids_stay() -> None:
    assert settled("a", "b", "x" * MAX_TOOL_CALL_ID_LENGTH) == [
        "a",
        "b",
        "x" * MAX_TOOL_CALL_ID_LENGTH,
    ]


def test_duplicate_id_becomes_two_ids() -> None:
    assert settled("a", "a", "a-1", "a") == ["a", "a-1", "a-1-2", "a-3"]


def test_id_that_is_no_text_is_replaced() -> None:
    assert settled(7, 7, {"a": 1}, "call-0") == ["call-0", "call-1", "call-2", "call-0-3"]


ids = st.lists(st.one_of(st.sampled_from(["", "a", "a-1", "a-2", "call-0"]), st.text(max_size=500)))


@given(ids)
def test_every_call_gets_a_unique_id(proposed_ids: list[str]) -> None:
    names = settled(*proposed_ids)
    assert len(set(names)) == len(proposed_ids)
    assert all(0 < len(name) <= MAX_TOOL_CALL_ID_LENGTH for name in names)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", "a", None]))))
def test_id_is_the_same_in_all_deltas_of_a_call(
    pieces: list[tuple[int, str | None]],
) -> None:
    call_ids, names = ToolCallIds(), dict[int, str]()
    for index, given_id in pieces:
        piece = {"index": index, "args": "{"} | (
            {} if given_id is None else {"tool_call_id": given_id}
        )
        told = call_ids.with_unique_id(piece)
        assert told.keys() == piece.keys()
        if "tool_call_id" in told:
            assert names.setdefault(index, told["tool_call_id"]) == told["tool_call_id"]
