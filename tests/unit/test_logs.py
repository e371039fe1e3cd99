"""The log: valid lines for any input, libraries in the same format, and no secrets."""

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
from structlog.typing import FilteringBoundLogger

from chatd import logs
from chatd.domain.errors import DatabaseUnavailable, ToolCallUnknown
from chatd.llm.errors import ProviderError
from chatd.logs import journald
from chatd.logs.exceptions import WITHHELD_MESSAGE


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.fixture(autouse=True)
def _restore_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("chatd.logs.redaction._known_secrets", frozenset())
    monkeypatch.setattr("chatd.logs.redaction._secrets_pattern", None)
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**config)
    logging.captureWarnings(capture=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(stream: io.StringIO, **options: Any) -> FilteringBoundLogger:
    logs.configure(stream=stream, **options)
    logger: FilteringBoundLogger = structlog.get_logger("chatd.worker.runner")
    return logger


def test_line_is_one_json_object_with_its_fields() -> None:
    out = io.StringIO()
    chat = UUID(int=7)
    with structlog.contextvars.bound_contextvars(worker_id="w"):
        configured(out).info("turn.finished", chat_id=chat, steps=2, seconds=0.5, kinds={"a"})
    (line,) = lines(out)
    assert list(line)[:4] == ["timestamp", "level", "event", "logger"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info", "event": "turn.finished", "logger": "chatd.worker.runner", "worker_id": "w",
        "chat_id": str(chat), "steps": 2, "seconds": 0.5, "kinds": ["a"],
    }  # fmt: skip


def test_cached_loggers_follow_a_new_level_and_format() -> None:
    out = io.StringIO()
    log = configured(out)
    log.debug("a.b")
    log.info("b.c")
    logs.configure(level="debug", stream=out)
    log.debug("c.d")
    logs.configure(level="error", stream=out)
    log.warning("d.e")
    assert [line["event"] for line in lines(out)] == ["b.c", "c.d"]
    other = io.StringIO()
    logs.configure(format="console", stream=other)
    log.info("e.f", answer=42)
    assert "e.f" in other.getvalue()
    assert "answer=42" in other.getvalue()
    assert "\x1b" not in other.getvalue()


def test_auto_format_is_console_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configured(terminal).info("a.b")
    assert "\x1b[" in terminal.getvalue()
    configured(pipe).info("a.b")
    assert lines(pipe)


def test_library_messages_from_warning_up_have_the_same_format() -> None:
    out = io.StringIO()
    configured(out)
    library = logging.getLogger("asyncpg")
    library.info("below warning")
    library.warning("slow: %s", "yes")
    library.warning("wrong arguments: %d", "x")
    library.error("%s", Unprintable())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    events = lines(out)
    assert {event["event"] for event in events} == {"library.message"}
    assert [event["logger"] for event in events] == ["asyncpg"] * 3 + ["py.warnings"]
    assert [event["message"] for event in events[:3]] == ["slow: yes", "wrong arguments: %d", "%s"]
    logs.configure(level="debug", stream=out)
    library.info("at info")
    library.debug("never: requests are printed here")
    assert [event["message"] for event in lines(out)[4:]] == ["at info"]


def fail() -> None:
    raise ExceptionGroup("several", [ValueError("key sk-abcdefghijklmnop")])


def test_exception_is_one_json_line_and_a_traceback_on_the_console() -> None:
    out, console = io.StringIO(), io.StringIO()
    log = configured(out)
    try:
        fail()
    except ExceptionGroup as error:
        log.exception("chat.panicked")
        log.warning("chat.retried", exc_info=error)
        logging.getLogger("uvicorn").exception("oh")
        logs.configure(format="console", stream=console)
        log.exception("chat.panicked")
    for line in lines(out):
        assert line["exception"]["type"] == "ExceptionGroup"
        assert line["exception"]["message"] == "group of 1"
        assert f"  | ValueError: {WITHHELD_MESSAGE}" in line["exception"]["traceback"]
        assert "in fail\n    raise ExceptionGroup" in line["exception"]["traceback"]
    assert [line["level"] for line in lines(out)] == ["error", "warning", "error"]
    assert "\n  | ValueError: (not logged" in console.getvalue()
    assert "sk-abc" not in out.getvalue() + console.getvalue()


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause  # noqa: TRY301 - so that it has a traceback
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("my own words"), WITHHELD_MESSAGE),
        (KeyError("my own words"), WITHHELD_MESSAGE),
        (RuntimeError("my own words"), WITHHELD_MESSAGE),
        (ValueError(), ""),
        (TypeError("unsupported operand"), "unsupported operand"),
        (ConnectionResetError(104, "reset"), "[Errno 104] reset"),
        (ProviderError("my own words"), WITHHELD_MESSAGE),
        (ToolCallUnknown("my own words"), WITHHELD_MESSAGE),
        (DatabaseUnavailable(), "The database cannot be reached just now."),
        (Unprintable, WITHHELD_MESSAGE),
    ],
    ids=str,
)
def test_exception_message_is_logged_only_if_it_cannot_quote_a_chat(error: Any, shown: str) -> None:
    out = io.StringIO()
    if error is Unprintable:
        error = type("Mute", (Exception,), {"__str__": Unprintable.__str__})()
    configured(out).error("a.b", exc_info=raised(error, cause=raised(OSError(2, "no such file"))))
    (line,) = lines(out)
    assert line["exception"]["message"] == shown
    traceback = line["exception"]["traceback"]
    assert traceback.startswith("Traceback (most recent call last):")
    assert "FileNotFoundError: [Errno 2] no such file" in traceback
    assert "direct cause" in traceback
    assert traceback.rstrip().endswith(shown)
    assert "my own words" not in out.getvalue()


def test_quoted_content_is_withheld_in_causes_and_groups() -> None:
    out = io.StringIO()
    quoting = [raised(ProviderError("my own words")), raised(ToolCallUnknown("my own words"))]
    group = raised(ExceptionGroup("my own words", quoting))
    configured(out).error("a.b", exc_info=raised(OSError(2, "no such file"), cause=group))
    (line,) = lines(out)
    assert line["exception"]["message"] == "[Errno 2] no such file"
    assert line["exception"]["traceback"].count(WITHHELD_MESSAGE) == len(quoting)
    assert "my own words" not in out.getvalue()


def test_long_exception_chains_and_groups_are_bounded() -> None:
    out = io.StringIO()
    error: BaseException = ValueError("x")
    for _ in range(100):
        error = raised(ExceptionGroup("g", [raised(KeyError(n)) for n in range(100)]), cause=error)
    assert isinstance(error, Exception)
    configured(out).error("a.b", exc_info=error)
    assert len(out.getvalue()) < 200_000
    circle = ValueError("a")
    circle.__cause__ = KeyError("b")
    circle.__cause__.__context__ = circle
    configured(out).error("a.b", exc_info=circle)
    assert len(lines(out)) == 2


def test_registered_secrets_are_redacted() -> None:
    out = io.StringIO()
    logs.register_secrets(["plain geheim word", "short", "p@ss/word!"])
    configured(out).info(
        "a.b", text="it was: plain geheim word.", url="postgresql://h/d?x=p%40ss%2Fword%21",
        nested=[{"p@ss/word!": "a short word"}],
    )  # fmt: skip
    assert "geheim" not in out.getvalue()
    assert "ss/word" not in out.getvalue()
    assert "ss%2Fword" not in out.getvalue()
    assert lines(out)[0]["nested"] == [{"[redacted]": "a short word"}]


def test_lines_have_process_and_context_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys.modules["chatd.logs.configure"], "_process_fields", {})
    log = configured(out)
    logs.bind_process(worker_id="me")
    log.info("a.b")
    with structlog.contextvars.bound_contextvars(worker_id="other", chat_id="c"):
        log.info("b.c")
        logging.getLogger("asyncpg").warning("slow")
    named = [(line["worker_id"], line.get("chat_id")) for line in lines(out)]
    assert named == [("me", None), ("other", "c"), ("other", "c")]


def test_journal_lines_have_a_priority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w+") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
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


def test_library_messages_lose_quoted_values() -> None:
    out = io.StringIO()
    configured(out)
    logging.getLogger("asyncio").error(
        "Task exception was never retrieved\nfuture: <Task exception=ValueError('my words')>"
    )
    logging.getLogger("asyncio").error("Exception in callback f('my words') at x.py")
    logging.getLogger("py.warnings").warning(
        "Pydantic: not as expected [field_name='a', input_value='my words', input_type=str])"
    )
    assert "my words" not in out.getvalue()
    assert lines(out)[0]["message"] == "Task exception was never retrieved"
    assert "input_type=str" in lines(out)[2]["message"]


def test_secrets_are_redacted_in_every_string() -> None:
    out = io.StringIO()
    configured(out).info(
        "Not.An event with sk-abcdefghijklmnop",
        url="postgresql://u:geheim@h/d",
        nested={"authorization": "geheim", "rows": [("Bearer geheim4711",)]},
        api_key="geheim", openai_api_key="geheim", password=b"geheim", token="geheim",
        input_tokens=5, last_token="geheim",
    )  # fmt: skip
    assert "geheim" not in out.getvalue()
    assert "sk-abc" not in out.getvalue()
    assert lines(out)[0]["input_tokens"] == 5


def test_long_texts_are_redacted_line_by_line() -> None:
    out = io.StringIO()
    text = "\n".join(f"line {n} sk-abcdefghijklmnop" for n in range(500))
    pem = "-----BEGIN PRIVATE KEY-----\n" + "geheim/geheim/geheim\n" * 500
    configured(out).info("a.b", text=text, pem=pem)
    assert lines(out)[0]["text"].splitlines()[-1] == "line 499 [redacted]"
    assert "geheim" not in out.getvalue()


def test_unserializable_values_do_not_raise() -> None:
    out = io.StringIO()
    circle: dict[Any, Any] = {}
    circle["again"] = circle
    log = configured(out)
    log.info(
        "a.b", one=Unprintable(), circle=circle, many=list(range(10_000)), huge=10**5000,
        nan=float("nan"), odd={Unprintable(): 1}, text="\ud800\x00", raw=b"\xff",
    )  # fmt: skip
    log.info(Unprintable())
    log.error("a.c", exc_info=Unprintable())
    assert len(lines(out)) == 3
    assert lines(out)[0]["one"] == "<Unprintable that cannot be shown>"
    assert lines(out)[0]["nan"] == "nan"


@given(st.dictionaries(st.text(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12,
), max_size=5))  # fmt: skip
def test_any_fields_make_a_json_line(fields: dict[str, Any]) -> None:
    out = io.StringIO()
    log = configured(out)
    for name in ("event", "self", "exc_info", "stack_info"):
        fields.pop(name, None)
    log.info("a.b", **fields)
    assert len(out.getvalue().splitlines()) == 1
    json.loads(out.getvalue())


def test_line_to_a_closed_stream_is_dropped() -> None:
    out = io.StringIO()
    log = configured(out)
    out.close()
    log.info("a.b")
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    logs.configure(format="console", stream=narrow)
    log.info("a.b", text="ä")
    narrow.seek(0)
    assert r"\xe4" in narrow.read()
