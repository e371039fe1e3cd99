"""Cursors of chat streams, as text and past journal entries."""

from datetime import UTC, datetime
from urllib.parse import unquote_plus
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.transitions import Transition

numbers = st.integers(0, 10**18 - 1)
cursors = st.builds(Cursor, numbers, numbers, numbers, numbers)


@given(cursors)
def test_cursor_round_trips_as_text(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(cursors)
def test_cursor_text_fits_a_header(cursor: Cursor) -> None:
    text = str(cursor)
    assert text.isascii()
    assert unquote_plus(text) == text, "it is the same in the query of a URL"
    assert not set(text) - set("0123456789.~")


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "1", "1.2", "1.2.3.4", "1.2.", ".2.3", "1..3", "a.b.c", "-1.2.3", "1.-2.3",
        " 1.2.3", "1.2.3 ", "1.2.3~", "1.2.3~-1", "1.2.3~x", "1.2.3~1~2", "~1", "1.2.3~1.5",
        "1.2.3+1", "1.2.3 1",
        "1.2.3\n", "1_0.2.3", "0x1.2.3", "1e3.2.3", "\u0661.2.3", "\u00b2.2.3", f"{10**18}.0.0",
        f"1.2.{'9' * 400}", "1.2.3~" + "9" * 19, "null", "1,2,3",
    ],
)  # fmt: skip
def test_malformed_cursor_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


@given(st.text(alphabet="0123456789.~+-_ ex\u0663", max_size=24))
def test_any_text_is_a_cursor_or_is_rejected(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    assert Cursor.parse(str(cursor)) == cursor
    assert min(cursor.version, cursor.epoch, cursor.part, cursor.events_sent) >= 0


@given(cursors, st.integers(0, 5), st.integers(1, 5))
def test_cursor_past_an_entry_starts_the_parts_of_a_new_epoch(
    cursor: Cursor, epochs: int, versions: int
) -> None:
    entry = JournalEntry(
        chat_id=UUID(int=1),
        version=cursor.version + versions,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        transition=Transition.DESCRIBE,
        status=Status.WAITING,
        epoch=cursor.epoch + epochs,
        worker_id=None,
        data={},
    )
    after = cursor.advanced_past(entry)
    assert (after.version, after.epoch, after.events_sent) == (entry.version, entry.epoch, 0)
    assert after.part == (0 if epochs else cursor.part)
    assert after > cursor
