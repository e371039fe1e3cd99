"""The tables of ``chatd top``."""

from typing import Any

from support.openapi_conformance import document

from chatd.cli.top import (
    _ACTOR_COLUMNS,
    _CHAT_COLUMNS,
    _duration_cell,
    actor_rows,
    chat_rows,
    summary_lines,
)


def test_unknown_duration_is_a_dash() -> None:
    assert _duration_cell(None) == "-"
    assert _duration_cell(59.94) == "59.9 s"


def test_rows_fit_their_columns_and_the_stuck_chat_comes_first() -> None:
    status: Any = dict(document()["components"]["schemas"]["ProcessStatus"]["examples"][0])
    assert all(len(row) == len(_ACTOR_COLUMNS) for row in actor_rows(status))
    [moving] = status["chats"]
    status["chats"] = [moving, moving | {"chat_id": "stuck", "seconds_since_progress": 90.0}]
    rows = chat_rows(status)
    assert all(len(row) == len(_CHAT_COLUMNS) for row in rows)
    assert [row[0] for row in rows] == ["stuck", moving["chat_id"]]
    assert "2 leased chats, 99 free slots" in "\n".join(summary_lines(status))
    status["database_stats"] = None
    assert summary_lines(status)[-1] == "The database has not answered."
