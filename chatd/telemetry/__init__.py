"""What is counted, and what is traced: the names of all metrics and of all spans.

``metrics`` declares every metric once: its name, what it means, its labels. The object ``Metrics`` is
made once for each daemon, and each actor is handed the group of it that it counts in, by keyword; an
actor that is handed none counts for itself. There is no registry of the process: tests run several
daemons in one, and their counts must not mix.

``instruments`` are plain numbers, without locks, because everything that counts runs on one event
loop: counting costs a tenth of what prometheus_client's own take (they lock), and a turn counts some
thirty times. ``exposition`` hands them to prometheus_client when somebody asks.

No label ever holds an id, an owner or a text. A label has either a fixed vocabulary, or values that
the configuration bounds (models) or the code does (routes); what is none of these is counted as
``other``, and so is whatever would make more than ``MAX_SERIES`` of one metric.

``tracing`` makes the spans, and is one for the process, as OpenTelemetry has it; ``export`` sends them
where the standard variables say. A span may hold the id of a chat, and never a text.
"""
