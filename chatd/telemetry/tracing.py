"""Tracing: the names of all spans and their attributes, by OpenTelemetry's conventions for GenAI.

::

    POST /api/v1/chats                    the request; its context is stored with the chat
    └─ turn                               on the worker that claimed it; linked to the first claim
       ├─ client tools                    the time in which the client ran its tools
       ├─ store history | commit_step …   the time of reading and storing
       ├─ execute_tool NAME               one call of a tool that the server runs
       ├─ compaction                      one need of a compaction, with its calls and its store
       └─ chat MODEL                      one model call

The turn of a takeover is in the same trace and linked to the claim of the worker that died, whose own turn
span was never sent because it never ended. No span ever holds content, tool arguments, a title, an error
text or a path, and no setting turns that on.

Nothing is traced until ``set_tracer_provider`` is called. Until then every function here returns the same
no-op span, at no cost.

Sources: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (1.37),
https://opentelemetry.io/docs/specs/semconv/http/http-spans/, https://www.w3.org/TR/trace-context/.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from chatd import __version__
from chatd.domain.chat import Chat, Usage

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_CONVERSATION_ID: Final = "gen_ai.conversation.id"
_SERVER_ERROR = 500

_tracer: trace.Tracer | None = None
_NOOP_SPAN: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)


def set_tracer_provider(provider: trace.TracerProvider | None) -> None:
    """Trace by this provider from now on. None: do not trace."""
    global _tracer  # noqa: PLW0603 - spans belong to the process, as OpenTelemetry has it
    _tracer = None if provider is None else provider.get_tracer("chatd", __version__)


def current_traceparent() -> str | None:
    """Return the current span as a ``traceparent`` that can be stored. None: tracing is off."""
    if _tracer is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def request_span(method: str, traceparent: str | None) -> AbstractContextManager[Span]:
    """Return the span of a request until its response starts. ``traceparent`` is the client's header."""
    if _tracer is None:
        return _NOOP_SPAN
    return _span(method, SpanKind.SERVER, {"http.request.method": method}, parent=traceparent)


def end_request(span: Span, method: str, route: str | None, status: int) -> None:
    """Record the response of a request and end its span."""
    if not span.is_recording():
        return
    if route is not None:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= _SERVER_ERROR:
        set_error(span, str(status))
    span.end()


def claim_span() -> AbstractContextManager[Span]:
    """Return the span of one claiming statement. See ``end_claim``."""
    if _tracer is None:
        return _NOOP_SPAN
    span = _tracer.start_span("claim")
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def end_claim(span: Span, chats: int) -> None:
    """Record the number of claimed chats. A span that claimed none is never ended, thus not exported."""
    if chats and span.is_recording():
        span.set_attribute("chatd.chats", chats)
        span.end()


def turn_span(chat: Chat) -> AbstractContextManager[Span]:
    """Return the span of one turn, in the trace of the request that started it."""
    if _tracer is None:
        return _NOOP_SPAN
    first_claim = _parse_traceparent(chat.claim_traceparent)
    attributes = {
        _CONVERSATION_ID: str(chat.id),
        "chatd.epoch": chat.epoch,
        "chatd.takeover": chat.was_reaped,
    }
    links = [] if first_claim is None else [Link(first_claim, {"chatd.link": "first_claim"})]
    return _span(
        "turn", SpanKind.CONSUMER, attributes, parent=chat.request_traceparent, links=links
    )


def end_turn(span: Span, *, outcome: str, steps: int, error_kind: str | None) -> None:
    """Record the outcome of a turn."""
    if span.is_recording():
        span.set_attributes({"chatd.outcome": outcome, "chatd.steps": steps})
        if error_kind is not None:
            set_error(span, error_kind)


def record_client_tools(started_at: datetime, ended_at: datetime) -> None:
    """Record a span for the time in which the client ran its tools."""
    if _tracer is not None:
        span = _tracer.start_span("client tools", start_time=_nanoseconds(started_at))
        span.end(_nanoseconds(ended_at))


def model_call_span(
    *, chat: Chat, provider: str, model: str, max_tokens: int | None
) -> AbstractContextManager[Span]:
    """Return the span of one model call. ``model`` is the provider's own name of it."""
    if _tracer is None:
        return _NOOP_SPAN
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": True,
        _CONVERSATION_ID: str(chat.id),
    }
    if max_tokens is not None:
        attributes["gen_ai.request.max_tokens"] = max_tokens
    return _span(f"chat {model}", SpanKind.CLIENT, attributes)


def compaction_span(chat: Chat, *, reason: str) -> AbstractContextManager[Span]:
    """Return the span of a compaction."""
    if _tracer is None:
        return _NOOP_SPAN
    attributes = {_CONVERSATION_ID: str(chat.id), "chatd.reason": reason}
    return _span("compaction", SpanKind.INTERNAL, attributes)


def tool_span(chat: Chat, *, tool: str, call_id: str) -> AbstractContextManager[Span]:
    """Return the span of one call of a tool that the server runs."""
    if _tracer is None:
        return _NOOP_SPAN
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.type": "extension",
        _CONVERSATION_ID: str(chat.id),
    }
    return _span(f"execute_tool {tool}", SpanKind.INTERNAL, attributes)


def record_response(span: Span, *, reason: str, usage: Usage) -> None:
    """Record the end of a model's response."""
    if span.is_recording():
        span.set_attributes(
            {
                "gen_ai.response.finish_reasons": (reason,),
                "gen_ai.usage.input_tokens": usage.input_tokens,
                "gen_ai.usage.output_tokens": usage.output_tokens,
            }
        )


def store_span(operation: str) -> AbstractContextManager[Span]:
    """Return the span of a worker's store operation: ``history``, or the name of a transition."""
    return _NOOP_SPAN if _tracer is None else _span(f"store {operation}", SpanKind.CLIENT, {})


def set_error(span: Span, kind: str) -> None:
    """Mark the span as failed. ``kind`` is one of our own words, never a text."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


@contextmanager
def _span(
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, Any],
    *,
    parent: str | None = None,
    links: list[Link] | None = None,
) -> Iterator[Span]:
    """Make a new span current in the body. Of an exception it records the type alone."""
    assert _tracer is not None  # noqa: S101 - callers check it first
    remote = _parse_traceparent(parent)
    context = None if remote is None else trace.set_span_in_context(NonRecordingSpan(remote))
    span = _tracer.start_span(name, context, kind, attributes, links)
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as error:
            if span.is_recording():
                set_error(span, type(error).__qualname__)
            raise
        finally:
            if span.is_recording():
                span.end()


def _parse_traceparent(traceparent: str | None) -> SpanContext | None:
    """Return the span context of a ``traceparent``. None: it is not well-formed."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    trace_id, span_id, flags = (int(field, 16) for field in match.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1_000
