"""OTLP export: sends spans to a collector, if OpenTelemetry's standard variables name one.

The extra ``otel`` installs the exporter. The SDK reads everything else (headers, sampling, resource,
batches) from its own ``OTEL_*`` variables, as in every other program.
"""

import threading
from collections.abc import Callable, Mapping
from importlib import import_module

import structlog
from opentelemetry import trace

from chatd import __version__
from chatd.telemetry import tracing

_log = structlog.get_logger()

_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH_TIMEOUT_SECONDS = 2.0
"""Time that sending the last spans may take when the process stops."""


def configure_tracing(environ: Mapping[str, str], *, worker_id: str) -> Callable[[], None]:
    """Set up tracing if it is configured. Return a function that sends the last spans at shutdown.

    A tracer provider that is installed already (``opentelemetry-instrument``) is used as it is.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        tracing.set_tracer_provider(trace.get_tracer_provider())
        return lambda: None
    if not _is_enabled(environ):
        return lambda: None
    try:
        sdk = import_module("opentelemetry.sdk.trace")
        batches = import_module("opentelemetry.sdk.trace.export")
        resources = import_module("opentelemetry.sdk.resources")
        otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError:
        _log.warning("tracing.not_installed", extra="otel")
        return lambda: None
    attributes = {"service.version": __version__, "service.instance.id": worker_id}
    if not _has_service_name(environ):
        attributes["service.name"] = "chatd"
    provider = sdk.TracerProvider(
        resource=resources.Resource.create(attributes), shutdown_on_exit=False
    )
    provider.add_span_processor(batches.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    tracing.set_tracer_provider(provider)
    _log.info("tracing.on", exporter="otlp")
    return lambda: _flush(provider.shutdown)


def _is_enabled(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER")
    return exporter == "otlp" or (not exporter and any(map(environ.get, _ENDPOINT_VARIABLES)))


def _has_service_name(environ: Mapping[str, str]) -> bool:
    return "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )


def _flush(shut_down: Callable[[], None]) -> None:
    """Send the last spans in a thread, so that an unavailable collector does not delay the shutdown."""
    tracing.set_tracer_provider(None)
    thread = threading.Thread(target=shut_down, name="last-spans", daemon=True)
    thread.start()
    thread.join(_FLUSH_TIMEOUT_SECONDS)
