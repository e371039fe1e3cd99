"""Parser of server-sent events, against a second one that follows the standard literally."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.client.sse import EventStreamParser, ServerSentEvent


def read(*chunks: bytes) -> list[ServerSentEvent]:
    parser = EventStreamParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def by_the_book(stream: bytes) -> list[ServerSentEvent]:
    """Apply the algorithm of the standard to a whole stream: decode, complete lines, fields, blocks."""
    text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = re.split(r"\r\n|\n|\r", text)[:-1]
    events, kind, data, own = [], "", "", None
    for line in lines:
        if line == "":
            if data:
                events.append(ServerSentEvent(kind or "message", data[:-1], own))
            kind, data, own = "", "", None
            continue
        if line[0] == ":":
            continue
        name, value = line.split(":", 1) if ":" in line else (line, "")
        value = value[1:] if value[:1] == " " else value
        if name == "event":
            kind = value
        if name == "data":
            data += value + "\n"
        if name == "id" and "\0" not in value:
            own = value
    return events


LINES = st.sampled_from(
    ["data: one", "data:two", "data:  three", "data", "data:", "event: x", "event", "id: 1.2.3",
     "id: 4\0", "id", ": a comment", ":", "retry: 10", "unknown: field", "dätä: ü", "data: ✓ 🎈"]
)  # fmt: skip
ENDS = st.sampled_from(["\n", "\r", "\r\n"])
BLOCKS = st.lists(st.one_of(LINES, st.just("")), max_size=12)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    text = draw(st.sampled_from(["", "\ufeff", "\ufeff\ufeff"]))
    for line in draw(BLOCKS):
        text += line + draw(ENDS)
    return text.encode() + draw(st.sampled_from([b"", b"data: cut", b"data: cut\n", b"\xff\n\n"]))


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(streams())
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    return stream, [stream[a:b] for a, b in pairwise([0, *places, len(stream)])]


@given(cut())
def test_any_chunking_matches_the_standard(case: tuple[bytes, list[bytes]]) -> None:
    stream, chunks = case
    assert read(*chunks) == by_the_book(stream)
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == by_the_book(stream)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_parsed_without_an_error(stream: bytes, place: int) -> None:
    assert read(stream[:place], stream[place:]) == by_the_book(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_event_is_delivered_at_its_end(end: bytes) -> None:
    parser = EventStreamParser()
    assert list(parser.feed(b"event: status" + end + b"data: {}" + end + b"id: 7")) == []
    event = ServerSentEvent("status", "{}", "7")
    assert list(parser.feed(end + end)) == [event]
    assert list(parser.feed(end)) == []


def test_truncated_event_is_not_delivered() -> None:
    assert read(b"data: 1\n\ndata: 2\n") == [ServerSentEvent("message", "1", None)]
    assert read(b"data: 1\n\ndata: 2") == [ServerSentEvent("message", "1", None)]


def test_id_is_not_inherited() -> None:
    events = read(b"id: a\ndata: 1\n\ndata: 2\n\nid: b\n\ndata: 3\n\n")
    assert [event.id for event in events] == ["a", None, None]


def test_long_line_in_small_chunks_takes_linear_time() -> None:
    pieces = [b"data: ", *[b"x" * 1_000] * 20_000, b"\n\n"]
    (event,) = read(*pieces)
    assert len(event.data) == 20_000_000
