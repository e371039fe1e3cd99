"""Cursors of list streams, and the versions that were sent."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.chat_list import (
    DELETED_VERSION,
    ChatChange,
    SentVersions,
    can_resume,
    decode_cursor,
    encode_cursor,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MAX_MICROSECONDS = (datetime.max.replace(tzinfo=UTC) - decode_cursor("0")) // timedelta(
    microseconds=1
)
moments = st.integers(0, MAX_MICROSECONDS).map(str).map(decode_cursor)


def change(number: int, version: int, seconds: float) -> ChatChange:
    return ChatChange(UUID(int=number), version, NOW + timedelta(seconds=seconds), None)


@given(moments)
def test_cursor_round_trips_as_text(moment: datetime) -> None:
    assert decode_cursor(encode_cursor(moment)) == moment


@given(st.text())
def test_any_text_is_a_cursor_or_is_rejected(text: str) -> None:
    try:
        moment = decode_cursor(text)
    except ValueError:
        return
    assert encode_cursor(moment) == (text.lstrip("0") or "0")


@pytest.mark.parametrize(
    "text", ["", " 1", "1.0.0", "-1", "1e3", "²", "9" * 18, "9" * 19, "9" * 5000, "\x00"]
)
def test_malformed_cursor_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        decode_cursor(text)


@given(moments, moments, st.timedeltas(timedelta(0)), st.timedeltas(timedelta(0)))
def test_cursor_resumes_within_the_retention(
    cursor: datetime, read_at: datetime, overlap: timedelta, retention: timedelta
) -> None:
    try:
        expected = cursor - overlap >= read_at - retention and cursor <= read_at
    except OverflowError:
        return
    assert can_resume(cursor, read_at=read_at, overlap=overlap, retention=retention) is expected


def test_version_is_sent_once() -> None:
    sent = SentVersions()
    assert sent.take_new([change(1, 2, 0), change(2, 1, 0)]) == [change(1, 2, 0), change(2, 1, 0)]
    assert sent.take_new([change(1, 2, 0), change(1, 1, 9)]) == []
    assert sent.take_new([change(1, 3, 1)]) == [change(1, 3, 1)]
    assert sent.take_new([change(1, DELETED_VERSION, 2)]) == [change(1, DELETED_VERSION, 2)]
    assert sent.take_new([change(1, 4, 3)]) == []  # Read before the deletion.


def test_versions_older_than_the_overlap_are_pruned() -> None:
    sent = SentVersions()
    sent.take_new([change(n, 1, n) for n in range(10)])
    sent.prune(NOW + 4 * SECOND)
    assert len(sent) == 5
    assert sent.versions_since(NOW + 7 * SECOND) == {UUID(int=8): 1, UUID(int=9): 1}
    assert sent.take_new([change(4, 1, 4)])
    assert not sent.take_new([change(5, 1, 5)])
