"""Secrets and quoted content, which no log line has."""

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from support.log_capture import Unprintable, configured_logger, log_lines, restored_logging

from chatd import logs
from chatd.domain.errors import DatabaseUnavailable, ToolCallUnknown
from chatd.llm.errors import ProviderError
from chatd.logs.exceptions import WITHHELD_MESSAGE


@pytest.fixture(autouse=True)
def _restored_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with restored_logging(monkeypatch):
        yield


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
    configured_logger(out).error(
        "a.b", exc_info=raised(error, cause=raised(OSError(2, "no such file")))
    )
    (line,) = log_lines(out)
    assert line["exception"]["message"] == shown
    traceback = line["exception"]["traceback"]
    assert traceback.startswith("Traceback (most recent call last):")
    assert "FileNotFoundError: [Errno 2] no such file" in traceback
    assert "direct cause" in traceback
    assert traceback.rstrip().endswith(shown)
    assert "my own words" not in out.getvalue()


def test_quoted_content_is_withheld_in_causes_and_groups() -> None:
    out = io.StringIO()
    quoting_errors = [
        raised(ProviderError("my own words")),
        raised(ToolCallUnknown("my own words")),
    ]
    group = raised(ExceptionGroup("my own words", quoting_errors))
    configured_logger(out).error("a.b", exc_info=raised(OSError(2, "no such file"), cause=group))
    (line,) = log_lines(out)
    assert line["exception"]["message"] == "[Errno 2] no such file"
    assert line["exception"]["traceback"].count(WITHHELD_MESSAGE) == len(quoting_errors)
    assert "my own words" not in out.getvalue()


def test_long_exception_chains_and_groups_are_bounded() -> None:
    out = io.StringIO()
    error: BaseException = ValueError("x")
    for _ in range(100):
        error = raised(ExceptionGroup("g", [raised(KeyError(n)) for n in range(100)]), cause=error)
    assert isinstance(error, Exception)
    configured_logger(out).error("a.b", exc_info=error)
    assert len(out.getvalue()) < 200_000
    circle = ValueError("a")
    circle.__cause__ = KeyError("b")
    circle.__cause__.__context__ = circle
    configured_logger(out).error("a.b", exc_info=circle)
    assert len(log_lines(out)) == 2


def test_secret_registered_after_it_was_logged_is_redacted() -> None:
    out = io.StringIO()
    log = configured_logger(out)
    log.info("a.b", text="versteckt")
    logs.register_secrets(["versteckt"])
    log.info("a.b", text="versteckt")
    assert [line["text"] for line in log_lines(out)] == ["versteckt", "[redacted]"]


def test_registered_secrets_are_redacted() -> None:
    out = io.StringIO()
    logs.register_secrets(["plain geheim word", "short", "p@ss/word!"])
    configured_logger(out).info(
        "a.b", text="it was: plain geheim word.", url="postgresql://h/d?x=p%40ss%2Fword%21",
        nested=[{"p@ss/word!": "a short word"}],
    )  # fmt: skip
    assert "geheim" not in out.getvalue()
    assert "ss/word" not in out.getvalue()
    assert "ss%2Fword" not in out.getvalue()
    assert log_lines(out)[0]["nested"] == [{"[redacted]": "a short word"}]


def test_library_messages_lose_quoted_values() -> None:
    out = io.StringIO()
    configured_logger(out)
    logging.getLogger("asyncio").error(
        "Task exception was never retrieved\nfuture: <Task exception=ValueError('my words')>"
    )
    logging.getLogger("asyncio").error("Exception in callback f('my words') at x.py")
    logging.getLogger("py.warnings").warning(
        "Pydantic: not as expected [field_name='a', input_value='my words', input_type=str])"
    )
    assert "my words" not in out.getvalue()
    assert log_lines(out)[0]["message"] == "Task exception was never retrieved"
    assert "input_type=str" in log_lines(out)[2]["message"]


def test_secrets_are_redacted_in_every_string() -> None:
    out = io.StringIO()
    configured_logger(out).info(
        "Not.An event with sk-abcdefghijklmnop",
        url="postgresql://u:geheim@h/d",
        nested={"authorization": "geheim", "rows": [("Bearer geheim4711",)]},
        api_key="geheim", openai_api_key="geheim", password=b"geheim", token="geheim",
        input_tokens=5, last_token="geheim",
    )  # fmt: skip
    assert "geheim" not in out.getvalue()
    assert "sk-abc" not in out.getvalue()
    assert log_lines(out)[0]["input_tokens"] == 5


def test_long_texts_are_redacted_line_by_line() -> None:
    out = io.StringIO()
    text = "\n".join(f"line {n} sk-abcdefghijklmnop" for n in range(500))
    pem = "-----BEGIN PRIVATE KEY-----\n" + "geheim/geheim/geheim\n" * 500
    configured_logger(out).info("a.b", text=text, pem=pem)
    assert log_lines(out)[0]["text"].splitlines()[-1] == "line 499 [redacted]"
    assert "geheim" not in out.getvalue()
