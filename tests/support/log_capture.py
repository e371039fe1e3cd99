"""Log lines that a test reads back from a stream."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from structlog.typing import FilteringBoundLogger

from chatd import logs


class Unprintable:
    """An object whose text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@contextmanager
def restored_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a test without known secrets, and restore the configuration of the logs after it."""
    monkeypatch.setattr("chatd.logs.redaction._known_secrets", frozenset())
    monkeypatch.setattr("chatd.logs.redaction._secrets_pattern", None)
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**config)
    logging.captureWarnings(capture=False)


def log_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines of a stream, each parsed as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured_logger(stream: io.StringIO, **options: Any) -> FilteringBoundLogger:
    """Configure the logs to write to a stream. Return a logger."""
    logs.configure(stream=stream, **options)
    logger: FilteringBoundLogger = structlog.get_logger("chatd.worker.runner")
    return logger
