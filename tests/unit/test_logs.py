"""Log lines: valid for any input, and of one format for libraries too."""

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from support.log_capture import Unprintable, configured_logger, log_lines, restored_logging

from chatd import logs
from chatd.logs import journald
from chatd.logs.exceptions import WITHHELD_MESSAGE


@pytest.fixture(autouse=True)
def _restored_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with restored_logging(monkeypatch):
        yield


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_line_is_one_json_object_with_its_fields() -> None:
    out = io.StringIO()
    chat = UUID(int=7)
    with structlog.contextvars.bound_contextvars(worker_id="w"):
        configured_logger(out).info(
            "turn.finished", chat_id=chat, steps=2, seconds=0.5, kinds={"a"}
        )
    (line,) = log_lines(out)
    assert list(line)[:4] == ["timestamp", "level", "event", "logger"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info", "event": "turn.finished", "logger": "chatd.worker.runner", "worker_id": "w",
        "chat_id": str(chat), "steps": 2, "seconds": 0.5, "kinds": ["a"],
    }  # fmt: skip


def test_cached_loggers_follow_a_new_level_and_format() -> None:
    out = io.StringIO()
    log = configured_logger(out)
    log.debug("a.b")
    log.info("b.c")
    logs.configure(level="debug", stream=out)
    log.debug("c.d")
    logs.configure(level="error", stream=out)
    log.warning("d.e")
    assert [line["event"] for line in log_lines(out)] == ["b.c", "c.d"]
    other = io.StringIO()
    logs.configure(format="console", stream=other)
    log.info("e.f", answer=42)
    assert "e.f" in other.getvalue()
    assert "answer=42" in other.getvalue()
    assert "\x1b" not in other.getvalue()


def test_auto_format_is_console_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configured_logger(terminal).info("a.b")
    assert "\x1b[" in terminal.getvalue()
    configured_logger(pipe).info("a.b")
    assert log_lines(pipe)


def test_library_messages_from_warning_up_have_the_same_format() -> None:
    out = io.StringIO()
    configured_logger(out)
    library = logging.getLogger("asyncpg")
    library.info("below warning")
    library.warning("slow: %s", "yes")
    library.warning("wrong arguments: %d", "x")
    library.error("%s", Unprintable())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    events = log_lines(out)
    assert {event["event"] for event in events} == {"library.message"}
    assert [event["logger"] for event in events] == ["asyncpg"] * 3 + ["py.warnings"]
    assert [event["message"] for event in events[:3]] == ["slow: yes", "wrong arguments: %d", "%s"]
    logs.configure(level="debug", stream=out)
    library.info("at info")
    library.debug("never: requests are printed here")
    assert [event["message"] for event in log_lines(out)[4:]] == ["at info"]


def fail() -> None:
    raise ExceptionGroup("several", [ValueError("key sk-abcdefghijklmnop")])


def test_exception_is_one_json_line_and_a_traceback_on_the_console() -> None:
    out, console = io.StringIO(), io.StringIO()
    log = configured_logger(out)
    try:
        fail()
    except ExceptionGroup as error:
        log.exception("chat.panicked")
        log.warning("chat.retried", exc_info=error)
        logging.getLogger("uvicorn").exception("oh")
        logs.configure(format="console", stream=console)
        log.exception("chat.panicked")
    for line in log_lines(out):
        assert line["exception"]["type"] == "ExceptionGroup"
        assert line["exception"]["message"] == "group of 1"
        assert f"  | ValueError: {WITHHELD_MESSAGE}" in line["exception"]["traceback"]
        assert "in fail\n    raise ExceptionGroup" in line["exception"]["traceback"]
    assert [line["level"] for line in log_lines(out)] == ["error", "warning", "error"]
    assert "\n  | ValueError: (not logged" in console.getvalue()
    assert "sk-abc" not in out.getvalue() + console.getvalue()


def test_lines_have_process_and_context_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys.modules["chatd.logs.configure"], "_process_fields", {})
    log = configured_logger(out)
    logs.bind_process(worker_id="me")
    log.info("a.b")
    with structlog.contextvars.bound_contextvars(worker_id="other", chat_id="c"):
        log.info("b.c")
        logging.getLogger("asyncpg").warning("slow")
    named = [(line["worker_id"], line.get("chat_id")) for line in log_lines(out)]
    assert named == [("me", None), ("other", "c"), ("other", "c")]


def test_journal_lines_have_a_priority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure(stream=stream, level="debug")
        log = structlog.get_logger()
        for level in ("debug", "info", "warning", "error", "critical", "exception"):
            getattr(log, level)("a.b")
        logging.getLogger("asyncpg").error("oh")
        logs.configure(stream=stream, format="console")
        log.warning("c.d", text="x")
        stream.seek(0)
        text = stream.read().splitlines()
    assert [line[:3] for line in text] == ["<7>", "<6>", "<4>", "<3>", "<2>", "<3>", "<3>", "<4>"]
    assert all(json.loads(line[3:])["event"] for line in text[:7])
    assert journald.with_priority("one\ntwo", "error") == "<3>one\n<3>two"
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")  # another stream: stderr was redirected
    out = io.StringIO()
    logs.configure(stream=out)
    structlog.get_logger().info("a.b")
    assert out.getvalue().startswith("{")


def test_unserializable_values_do_not_raise() -> None:
    out = io.StringIO()
    circle: dict[Any, Any] = {}
    circle["again"] = circle
    log = configured_logger(out)
    log.info(
        "a.b", one=Unprintable(), circle=circle, many=list(range(10_000)), huge=10**5000,
        nan=float("nan"), odd={Unprintable(): 1}, text="\ud800\x00", raw=b"\xff",
    )  # fmt: skip
    log.info(Unprintable())
    log.error("a.c", exc_info=Unprintable())
    assert len(log_lines(out)) == 3
    assert log_lines(out)[0]["one"] == "<Unprintable that cannot be shown>"
    assert log_lines(out)[0]["nan"] == "nan"


@given(st.dictionaries(st.text(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12,
), max_size=5))  # fmt: skip
def test_any_fields_make_a_json_line(fields: dict[str, Any]) -> None:
    out = io.StringIO()
    log = configured_logger(out)
    for name in ("event", "self", "exc_info", "stack_info"):
        fields.pop(name, None)
    log.info("a.b", **fields)
    assert len(out.getvalue().splitlines()) == 1
    json.loads(out.getvalue())


def test_line_to_a_closed_stream_is_dropped() -> None:
    out = io.StringIO()
    log = configured_logger(out)
    out.close()
    log.info("a.b")
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    logs.configure(format="console", stream=narrow)
    log.info("a.b", text="ä")
    narrow.seek(0)
    assert r"\xe4" in narrow.read()
