"""The tables of ``chatd top``."""

from io import StringIO
from typing import Any

from rich.console import Console
from support.openapi_conformance import document

from chatd.cli.top import (
    _ACTOR_COLUMNS,
    _CHAT_COLUMNS,
    _duration_cell,
    _screen,
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


def test_chats_and_faults_stay_on_a_small_screen() -> None:
    status: Any = dict(document()["components"]["schemas"]["ProcessStatus"]["examples"][0])
    [chat], actor = status["chats"], status["actors"][0]
    status["chats"] = [chat | {"chat_id": f"chat {number}"} for number in range(100)]
    running = [actor | {"name": f"actor {number}", "state": "running"} for number in range(30)]
    status["actors"] = [*running, actor | {"name": "broken", "state": "backing_off"}]
    console = Console(width=120, height=40, file=StringIO(), record=True)
    console.print(_screen(status, max_chats=20))
    shown = console.export_text().splitlines()[:40]
    assert sum(line.startswith("chat ") for line in shown) == 20
    assert any(line.startswith("broken") for line in shown)
    assert any(line.startswith("actor 0") for line in shown)
