"""Traces: one tree from the request to the model's answer, also over a takeover; and no content in it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.eventually import eventually
from support.in_process import NO_RENEWALS, running_daemon, running_daemons
from support.providers import (
    FunctionProvider,
    finished,
    last_user_text,
    text_delta,
    tool_call_delta,
)

from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest
from chatd.telemetry import tracing

REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MARK = "anchovy"
"""In everything that is said: it may be in no span."""

POST = "POST /api/v1/chats"


class Seen:
    """The spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    async def one(self, name: str, times: int = 1) -> ReadableSpan:
        """Wait for a span; the last of so many."""
        found = await eventually(
            lambda: len(self.named(name)) >= times and self.named(name),
            describe=lambda: f"{name} in {[span.name for span in self.spans]}",
        )
        last: ReadableSpan = found[times - 1]
        return last

    def children(self, parent: ReadableSpan) -> list[str]:
        return [s.name for s in self.spans if s.parent and s.parent.span_id == id_of(parent)]


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    tracing.set_tracer_provider(seen.provider)
    yield seen
    tracing.set_tracer_provider(None)
    assert seen.spans
    for span in seen.spans:
        assert MARK not in span.to_json()
        assert not span.events
        assert span.status.description is None
    seen.provider.shutdown()


async def test_a_turn_is_a_tree_below_its_request(dsn: str, seen: Seen) -> None:
    async with running_daemon(dsn) as chatd:
        answer = await chatd.api.http.post(
            "/api/v1/chats", json={"content": MARK, "title": MARK}, headers={"traceparent": REMOTE}
        )
        turn = await seen.one("turn")
        (request,) = seen.named(POST)
    assert f"{trace_of(request):032x}" == REMOTE[3:35]
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == REMOTE[36:52]
    assert request.kind is SpanKind.SERVER
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/api/v1/chats",
        "http.response.status_code": 201,
    }
    assert seen.children(request) == ["turn"]
    assert seen.children(turn) == ["store history", "chat m-one", "store finish_turn"]
    assert trace_of(turn) == trace_of(request)
    chat_id = answer.json()["id"]
    assert dict(turn.attributes or {}) == {
        "gen_ai.conversation.id": chat_id,
        "chatd.epoch": 1,
        "chatd.takeover": False,
        "chatd.outcome": "finished",
        "chatd.steps": 1,
    }
    (claim,) = seen.named("claim")
    assert [link.context.span_id for link in turn.links] == [id_of(claim)]
    (call,) = seen.named("chat m-one")
    assert call.kind is SpanKind.CLIENT
    usage = {k: v for k, v in (call.attributes or {}).items() if k.startswith("gen_ai.usage")}
    assert usage.keys() == {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}
    assert {k: v for k, v in (call.attributes or {}).items() if k not in usage} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "m-one",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": chat_id,
        "gen_ai.response.finish_reasons": ("stop",),
    }


async def test_a_failed_turn_says_its_kind_and_no_more(dsn: str, seen: Seen) -> None:
    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta(MARK)
        if "panic" in last_user_text(request):
            raise ValueError(MARK)
        raise ProviderError(MARK, status_code=400)

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        for number, (words, kind) in enumerate({"no": "invalid_request", "panic": "panic"}.items()):
            chat = await chatd.api.create(f"{MARK} {words}")
            await chatd.api.wait_for_status(chat["id"], "error")
            turn = await seen.one("turn", number + 1)
            assert turn.status.status_code is StatusCode.ERROR
            assert (turn.attributes or {})["error.type"] == kind
            assert seen.children(turn) == ["store history", "chat m-one", "store fail"]
        calls = [(call.attributes or {})["error.type"] for call in seen.named("chat m-one")]
        assert calls == ["invalid_request", "ValueError"]


async def test_a_takeover_is_linked_to_the_claim_of_the_first_owner(dsn: str, seen: Seen) -> None:
    first, reached = asyncio.Event(), asyncio.Event()

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta(MARK)
        if not first.is_set():
            first.set()
            await reached.wait()
        yield finished()

    async with running_daemons(
        dsn, [FunctionProvider(act), FunctionProvider(act)], worker=NO_RENEWALS
    ) as (one_, _):
        chat = await one_.api.create(MARK)
        await first.wait()
        await one_.daemon.services.database.fetch(
            "UPDATE chats SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = $1",
            UUID(chat["id"]),
        )
        await eventually(lambda: one_.journal(chat["id"], "reap"))
        await one_.api.wait_for_status(chat["id"], "waiting")
        reached.set()
        lost, taken = await eventually(lambda: len(seen.named("turn")) == 2 and _by_epoch(seen))
        claims = seen.named("claim")
        (request,) = seen.named(POST)
    assert (lost.attributes or {})["chatd.outcome"] == "lost"
    assert (taken.attributes or {})["chatd.takeover"] is True
    assert len(claims) == 2
    for turn in (lost, taken):
        assert trace_of(turn) == trace_of(request)
        assert turn.parent is not None
        assert turn.parent.span_id == id_of(request)
        assert [link.context.span_id for link in turn.links] == [id_of(claims[0])]


def _by_epoch(seen: Seen) -> list[ReadableSpan]:
    return sorted(
        seen.named("turn"), key=lambda turn: int(str((turn.attributes or {})["chatd.epoch"]))
    )


async def test_the_wait_for_a_client_is_a_span_of_the_turn_that_goes_on(
    dsn: str, seen: Seen
) -> None:
    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if request.messages[-1].role == "tool":
            yield text_delta(MARK)
        else:
            yield tool_call_delta("look", "a", args=f'{{"where": "{MARK}"}}')
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        tool = {"name": "look", "description": MARK, "parameters": {"type": "object"}}
        chat = await chatd.api.create(MARK, tools=[tool])
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        await chatd.api.submit_tool_results(chat["id"], {"a": MARK})
        turn = await seen.one("turn", 2)
        (submitted,) = seen.named("POST /api/v1/chats/{chat_id}/tool-results")
        assert turn.parent is not None
        assert turn.parent.span_id == id_of(submitted)
        wait = await seen.one("client tools")
        assert "client tools" in seen.children(turn)
        (asking,) = seen.named("store require_action")
        assert asking.end_time is not None
        assert submitted.start_time is not None
        assert wait.start_time is not None
        assert wait.end_time is not None
        assert wait.start_time < submitted.start_time < wait.end_time


async def test_each_queued_message_is_answered_in_the_trace_of_its_own_request(
    dsn: str, seen: Seen
) -> None:
    go = asyncio.Event()

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta(MARK)
        await go.wait()
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        chat = await chatd.api.create(MARK)
        await chatd.api.wait_for_status(chat["id"], "running")
        for _ in range(2):
            assert (await chatd.api.send(chat["id"], MARK))["queued"]
        go.set()
        await seen.one("turn", 3)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        asked_by = [turn.parent and turn.parent.span_id for turn in seen.named("turn")]
        sent = seen.named("POST /api/v1/chats/{chat_id}/messages")
        assert asked_by == list(map(id_of, [*seen.named(POST), *sent]))


async def test_a_refused_request_and_an_odd_traceparent(dsn: str, seen: Seen) -> None:
    async with running_daemon(dsn) as chatd:
        for odd in (MARK, "", REMOTE.upper(), REMOTE + "x", f"00-{'0' * 32}-{'0' * 16}-01"):
            answer = await chatd.api.http.get(f"/{MARK}?q={MARK}", headers={"traceparent": odd})
            assert answer.status_code == 404
        assert all(span.parent is None for span in seen.named("GET"))
        assert len(seen.named("GET")) == 5


async def test_without_a_provider_nothing_is_made_and_nothing_stored(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        rows = await chatd.daemon.services.database.fetch(
            "SELECT request_traceparent, claim_traceparent FROM chats"
        )
        assert [tuple(row) for row in rows] == [(None, None)]
    with tracing.store_span("x") as span, tracing.request_span("GET", REMOTE) as other:
        assert span is other
        assert tracing.current_traceparent() is None
