"""How ``chatd top`` puts lengths of time, and which chat comes first."""

from typing import Any

import pytest

from chatd.api.openapi.examples import EXAMPLES
from chatd.cli.top import (
    _ACTOR_COLUMNS,
    _CHAT_COLUMNS,
    actor_rows,
    chat_rows,
    format_duration,
    summary_lines,
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0.0 s"),
        (0.26, "0.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (61, "1 min 1 s"),
        (119.9, "1 min 59 s"),
        (3599.9, "59 min 59 s"),
        (7260, "2 h 1 min"),
        (90_000, "1 d 1 h"),
        (-3.2, "-3.2 s"),
    ],
)
def test_lengths_of_time(seconds: float | None, words: str) -> None:
    assert format_duration(seconds) == words


def test_rows_fit_their_columns_and_who_is_stuck_comes_first() -> None:
    status: Any = dict(EXAMPLES["ProcessStatus"])
    assert all(len(row) == len(_ACTOR_COLUMNS) for row in actor_rows(status))
    [moving] = status["chats"]
    status["chats"] = [moving, moving | {"chat_id": "stuck", "seconds_since_progress": 90.0}]
    rows = chat_rows(status)
    assert all(len(row) == len(_CHAT_COLUMNS) for row in rows)
    assert [row[0] for row in rows] == ["stuck", moving["chat_id"]]
    assert "2 leased chats, 99 free slots" in "\n".join(summary_lines(status))
    status["database_stats"] = None
    assert summary_lines(status)[-1] == "The database has not answered."
