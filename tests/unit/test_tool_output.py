"""Output of tools: cut to a size, whatever bytes it is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.tools.output import CappedOutput, OutputLimits, cap


def cut(data: bytes, max_bytes: int, *, pieces: int = 1) -> str:
    output = CappedOutput(OutputLimits(shown_bytes=max_bytes))
    size = max(len(data) // pieces, 1)
    for start in range(0, len(data), size):
        output.add(data[start : start + size])
    return output.text()


def test_short_output_is_whole() -> None:
    assert cut(b"x" * 1024, 1024) == "x" * 1024
    assert cut(b"", 1024) == ""


def test_head_and_tail_are_kept_and_the_marker_tells_what_is_missing() -> None:
    text = cut(b"a" * 5000 + b"b" * 5000, 1024, pieces=7)
    head, marker, tail = text.split("\n")
    assert marker == f"[… {10_000 - len(head) - len(tail)} bytes are missing here …]"
    assert (len(head), len(tail)) == (640, 320)
    assert (set(head), set(tail)) == ({"a"}, {"b"})
    assert len(text.encode()) <= 1024


@given(st.binary(max_size=4000), st.integers(1024, 1500), st.integers(1, 50))
def test_any_bytes_in_any_pieces(data: bytes, max_bytes: int, pieces: int) -> None:
    text = cut(data, max_bytes, pieces=pieces)
    assert text == cut(data, max_bytes)
    assert text.encode().decode() == text
    assert len(text) <= max_bytes


@given(st.text(alphabet="aé€😀", min_size=1500, max_size=3000))
def test_cut_goes_through_no_character(text: str) -> None:
    assert "\N{REPLACEMENT CHARACTER}" not in cut(text.encode(), 1024)


@pytest.mark.parametrize("text", ["short", "é" * 5000, "\ud800" * 5000])
def test_text_is_cut_as_its_bytes_are(text: str) -> None:
    shown, kept = cap(text, OutputLimits(shown_bytes=1024))
    assert len(shown.encode(errors="replace")) <= 1024
    assert (shown == text) == (text == "short")
    assert kept is None, "nothing is to be kept"


LIMITS = OutputLimits(shown_bytes=1024, kept_bytes=4096, call_id="call_1")


def test_marker_names_the_tool_that_reads_what_is_missing() -> None:
    shown, kept = cap("a" * 2000 + "b" * 2000, LIMITS)
    head, marker, tail = shown.split("\n")
    assert marker == (
        f"[… {4000 - len(head) - len(tail)} bytes are missing here: read_tool_result reads this "
        f'result, tool_call_id "call_1", offset {len(head)} …]'
    )
    assert len(shown.encode()) <= 1024
    assert kept is not None
    assert (kept.total_bytes, kept.kept) == (4000, "a" * 2000 + "b" * 2000)
    shown, kept = cap("a" * 5000, LIMITS)
    assert "reads the first 4096 bytes of this result" in shown
    assert kept is not None
    assert (kept.total_bytes, len(kept.kept)) == (5000, 4096)
    assert cap("a" * 1024, LIMITS) == ("a" * 1024, None)


@given(st.binary(min_size=1025, max_size=9000), st.integers(1, 50))
def test_any_bytes_are_kept_as_text_that_can_be_stored(data: bytes, pieces: int) -> None:
    output = CappedOutput(LIMITS)
    size = max(len(data) // pieces, 1)
    for start in range(0, len(data), size):
        output.add(data[start : start + size])
    kept = output.cut()
    assert kept is not None
    assert kept.total_bytes == len(data)
    assert len(kept.kept.encode()) <= 4096
    assert "\0" not in kept.kept


def test_huge_output_takes_little_memory() -> None:
    output = CappedOutput(OutputLimits(shown_bytes=1024))
    for _ in range(1000):
        output.add(b"x" * 65536)
    assert output.total == 65_536_000
    assert len(output._tail) + len(output._kept) < 3 * 65536
