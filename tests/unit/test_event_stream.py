"""Parser of server-sent events: every split gives the same events, and size is bounded."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.llm.errors import InvalidProviderResponse
from chatd.llm.vendors.wire.event_stream import MAX_EVENT_BYTES, EventParser

LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"data: ", b"event: e", b"event:", b": c", b"id: 1", b"x", b""]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


def parse(*chunks: bytes) -> list[tuple[str, bytes]]:
    parser = EventParser()
    return [*(event for chunk in chunks for event in parser.feed(chunk)), *parser.finish()]


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(0, 120), max_size=6))
def test_events_do_not_depend_on_the_split(
    lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(line + end for line, end in lines)
    at = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    assert parse(*(stream[a:b] for a, b in pairwise(at))) == parse(stream)


@given(st.lists(LINES, max_size=12))
def test_line_ends_are_equal(lines: list[bytes]) -> None:
    wanted = parse(b"".join(line + b"\n" for line in lines))
    for end in (b"\r", b"\r\n"):
        assert parse(b"".join(line + end for line in lines)) == wanted


def test_fields_of_one_event() -> None:
    assert parse(b"event: e\ndata: a\ndata:b\nid: 1\nretry: 5\n: c\n\ndata: c\n\n") == [
        ("e", b"a\nb"),
        ("", b"c"),
    ]


def test_event_without_data_leaves_no_name_behind() -> None:
    assert parse(b"event: ping\n\ndata: a\n\n") == [("", b"a")]


def test_unfinished_last_event_is_returned() -> None:
    assert parse(b"data: a\n\ndata: b") == [("", b"a"), ("", b"b")]


@pytest.mark.parametrize(
    "piece", [b"x" * 65536, b"data: " + b"x" * 65536 + b"\n"], ids=["line", "lines"]
)
def test_event_is_bounded(piece: bytes) -> None:
    parser = EventParser()
    for _ in range(MAX_EVENT_BYTES // len(piece)):
        assert parser.feed(piece) == []
    with pytest.raises(InvalidProviderResponse):
        parser.feed(piece)


def test_many_events_are_not_one() -> None:
    parser = EventParser()
    event = b"data: " + b"x" * (MAX_EVENT_BYTES // 4) + b"\n\n"
    assert sum(len(parser.feed(event)) for _ in range(6)) == 6
