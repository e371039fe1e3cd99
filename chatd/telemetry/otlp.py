"""Where spans go: to a collector, when the standard variables of OpenTelemetry name one.

The extra ``otel`` brings what sends them. Everything else (headers, sampling, resource, batches) the
SDK reads from its own ``OTEL_*`` variables, as in every other program.
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
"""What sending the last spans may take when the process stops."""


def configure_tracing(environ: Mapping[str, str], *, worker_id: str) -> Callable[[], None]:
    """Trace, if that is asked for; what is returned sends the last spans, at the end of the process.

    A provider that is there already (``opentelemetry-instrument``) is used as it is.
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
    named = {"service.version": __version__, "service.instance.id": worker_id}
    if not _has_service_name(environ):
        named["service.name"] = "chatd"
    provider = sdk.TracerProvider(resource=resources.Resource.create(named), shutdown_on_exit=False)
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
    """A collector that is away must not hold up the end."""
    tracing.set_tracer_provider(None)
    last = threading.Thread(target=shut_down, name="last-spans", daemon=True)
    last.start()
    last.join(_FLUSH_TIMEOUT_SECONDS)
