"""Telemetry: the names of all metrics and of all spans, and their instruments.

::

    metrics ── built from ──▶ instruments ◀── rendered by ── prometheus
    tracing ── spans of the process ──▶ otlp, if an endpoint is configured

``metrics`` declares every metric once: its name, its help and its labels. A daemon builds one ``Metrics``,
and each actor receives its group of it by keyword. An actor without one counts for itself. There is no
registry of the process, because tests run several daemons in one process, whose counts must not mix.

No label ever holds an id, an owner or a text. A label has a fixed vocabulary, or values that the
configuration (models) or the code (routes) bounds. Any other value is counted as ``other``, and so is
everything above ``MAX_SERIES`` of one metric.

``tracing`` belongs to the process, as OpenTelemetry has it. A span may hold the id of a chat, and never a
text.
"""
