"""Tracing is set up by the standard variables, and only then."""

import sys
import threading
from collections.abc import Iterator, Mapping

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from structlog.testing import capture_logs

from chatd.telemetry import otlp, tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is traced after it, and nothing goes on trying to send."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    yield
    tracing.set_tracer_provider(None)
    for thread in threading.enumerate():
        if thread.name == "last-spans":
            thread.join(30)
            assert not thread.is_alive()


def traces(environ: Mapping[str, str]) -> tuple[bool, list[str]]:
    """Return whether spans are recorded, and the log lines about it."""
    with capture_logs() as logs:
        goodbye = otlp.configure_tracing(environ, worker_id="w")
        with tracing.store_span("x") as span:
            made = span.is_recording()
        goodbye()
    with tracing.store_span("x") as span:
        assert not span.is_recording() or not made
    return made, [line["event"] for line in logs]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", **ENDPOINT},
        {"OTEL_SDK_DISABLED": "true", **ENDPOINT},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
    ids=str,
)
def test_tracing_is_off_without_an_endpoint(environ: dict[str, str]) -> None:
    assert traces(environ) == (False, [])


def test_endpoint_variable_turns_tracing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT["OTEL_EXPORTER_OTLP_ENDPOINT"])
    assert traces(ENDPOINT) == (True, ["tracing.on"])


def test_missing_exporter_is_logged_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert traces(ENDPOINT) == (False, ["tracing.not_installed"])


def test_existing_tracer_provider_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    with capture_logs():
        otlp.configure_tracing({}, worker_id="w")
    with tracing.store_span("x") as span:
        assert span.is_recording()
    provider.shutdown()
