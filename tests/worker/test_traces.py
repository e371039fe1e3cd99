"""Traces: one tree from the request to the model call, also over a takeover, and no content in it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.agents import ENABLED, spawn, wait
from support.client_tools import calling_provider
from support.eventually import eventually
from support.in_process import NO_RENEWALS, running_daemon, running_daemons
from support.leases import orphan_chats
from support.providers import (
    FunctionProvider,
    finished,
    last_user_text,
    scripted,
    text_delta,
    tool_call_delta,
)
from support.tool_endpoint import ToolCallRequest, ToolEndpoint, response, tool_endpoint, tools
from support.windowed_models import WindowedModel, insert_turns, run_with_window

from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database
from chatd.telemetry import tracing

REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MARK = "anchovy"
"""Part of all content. It may be in no span."""

POST = "POST /api/v1/chats"


class RecordedSpans:
    """Spans that have ended."""

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
        """Wait for ``times`` spans of this name. Return the last one."""
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
def recorded() -> Iterator[RecordedSpans]:
    recorded = RecordedSpans()
    tracing.set_tracer_provider(recorded.provider)
    yield recorded
    tracing.set_tracer_provider(None)
    assert recorded.spans
    for span in recorded.spans:
        assert MARK not in span.to_json()
        assert not span.events
        assert span.status.description is None
    recorded.provider.shutdown()


async def test_turn_spans_are_below_the_request_span(dsn: str, recorded: RecordedSpans) -> None:
    async with running_daemon(dsn) as chatd:
        await chatd.wait_until_no_chat_waits()
        answer = await chatd.api.http.post(
            "/api/v1/chats", json={"content": MARK, "title": MARK}, headers={"traceparent": REMOTE}
        )
        turn = await recorded.one("turn")
        (request,) = recorded.named(POST)
    assert f"{trace_of(request):032x}" == REMOTE[3:35]
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == REMOTE[36:52]
    assert request.kind is SpanKind.SERVER
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/api/v1/chats",
        "http.response.status_code": 201,
    }
    assert recorded.children(request) == ["claim", "turn"]
    assert recorded.children(turn) == ["chat m-one", "store finish_turn"]
    assert trace_of(turn) == trace_of(request)
    chat_id = answer.json()["id"]
    assert dict(turn.attributes or {}) == {
        "gen_ai.conversation.id": chat_id,
        "chatd.epoch": 1,
        "chatd.takeover": False,
        "chatd.outcome": "finished",
        "chatd.steps": 1,
    }
    (claim,) = recorded.named("claim")
    assert [link.context.span_id for link in turn.links] == [id_of(claim)]
    (call,) = recorded.named("chat m-one")
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


async def test_turn_of_an_agent_is_below_the_call_that_started_it(
    dsn: str, recorded: RecordedSpans
) -> None:
    provider = scripted(
        parent=[spawn(1, "a", MARK), wait(2, "a"), {"text": MARK, "calls": [3]}],
    )
    async with running_daemon(dsn, provider, **ENABLED) as chatd:
        chat = await chatd.api.create("[[parent]]")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await recorded.one("turn", 3)
    (call,) = recorded.named("execute_tool spawn_agent")
    assert recorded.children(call).count("turn") == 1
    turns = recorded.named("turn")
    assert {trace_of(turn) for turn in turns} == {trace_of(call)}
    outcomes = [(turn.attributes or {})["chatd.outcome"] for turn in turns]
    assert sorted(map(str, outcomes)) == ["finished", "finished", "parked"]


async def test_message_that_claims_nothing_has_no_claim_span(
    dsn: str, recorded: RecordedSpans
) -> None:
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create()
        await chatd.wait_until_no_chat_waits()
        url = f"/api/v1/chats/{chat['id']}"
        await chatd.api.http.patch(url, json={"archived": True})
        refused = await chatd.api.http.post(f"{url}/messages", json={"content": MARK})
        assert refused.status_code == 409
        await recorded.one("POST /api/v1/chats/{chat_id}/messages")
    assert recorded.named("claim") == []


async def test_failed_turn_span_has_the_kind_alone(dsn: str, recorded: RecordedSpans) -> None:
    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta(MARK)
        if "panic" in last_user_text(request):
            raise ValueError(MARK)
        raise ProviderError(MARK, status_code=400)

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        for number, (words, kind) in enumerate({"no": "invalid_request", "panic": "panic"}.items()):
            await chatd.wait_until_no_chat_waits()
            chat = await chatd.api.create(f"{MARK} {words}")
            await chatd.api.wait_for_status(chat["id"], "error")
            turn = await recorded.one("turn", number + 1)
            assert turn.status.status_code is StatusCode.ERROR
            assert (turn.attributes or {})["error.type"] == kind
            assert recorded.children(turn) == ["chat m-one", "store fail"]
        calls = [(call.attributes or {})["error.type"] for call in recorded.named("chat m-one")]
        assert calls == ["invalid_request", "ValueError"]


async def test_takeover_span_is_linked_to_the_first_claim(
    dsn: str, recorded: RecordedSpans
) -> None:
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
        await orphan_chats(one_.daemon.services.database, chat["id"])
        await eventually(lambda: one_.journal(chat["id"], "reap"))
        await one_.api.wait_for_status(chat["id"], "waiting")
        reached.set()
        lost, taken = await eventually(
            lambda: len(recorded.named("turn")) == 2 and _by_epoch(recorded)
        )
        claims = recorded.named("claim")
        (request,) = recorded.named(POST)
    assert (lost.attributes or {})["chatd.outcome"] == "lost"
    assert (taken.attributes or {})["chatd.takeover"] is True
    assert recorded.children(taken) == ["store history", "chat m-one", "store finish_turn"]
    assert len(claims) == 2
    for turn in (lost, taken):
        assert trace_of(turn) == trace_of(request)
        assert turn.parent is not None
        assert turn.parent.span_id == id_of(request)
        assert [link.context.span_id for link in turn.links] == [id_of(claims[0])]


def _by_epoch(recorded: RecordedSpans) -> list[ReadableSpan]:
    return sorted(
        recorded.named("turn"), key=lambda turn: int(str((turn.attributes or {})["chatd.epoch"]))
    )


async def test_client_tools_span_is_below_the_next_turn(dsn: str, recorded: RecordedSpans) -> None:
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
        turn = await recorded.one("turn", 2)
        (submitted,) = recorded.named("POST /api/v1/chats/{chat_id}/tool-results")
        assert turn.parent is not None
        assert turn.parent.span_id == id_of(submitted)
        wait = await recorded.one("client tools")
        assert "client tools" in recorded.children(turn)
        (asking,) = recorded.named("store require_action")
        assert asking.end_time is not None
        assert submitted.start_time is not None
        assert wait.start_time is not None
        assert wait.end_time is not None
        assert wait.start_time < submitted.start_time < wait.end_time


def slow_look(endpoint: ToolEndpoint) -> dict[str, Any]:
    """Return the settings of tools, of which ``look`` has little time."""
    sections = tools(endpoint)
    sections["http_tools"]["look"]["timeout_seconds"] = 0.2
    return sections


async def test_call_of_a_server_tool_is_a_span_of_its_turn(
    dsn: str, recorded: RecordedSpans
) -> None:
    async def answer(request: ToolCallRequest) -> bytes:
        if request.target == "/look":
            await asyncio.sleep(3600)
        return response(MARK)

    calls = [
        tool_call_delta("pay", "done", json.dumps({"note": MARK})),
        tool_call_delta("pay", "error", json.dumps({"note": [MARK]}), index=1),
        tool_call_delta("look", "timeout", index=2),
    ]
    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, calling_provider(calls), **slow_look(endpoint)) as chatd,
    ):
        chat = await chatd.api.create(MARK)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        turn = await recorded.one("turn")
        spans = [*recorded.named("execute_tool pay"), *recorded.named("execute_tool look")]
    assert len(spans) == 3
    for span in spans:
        assert span.parent is not None
        assert (span.parent.span_id, span.kind) == (id_of(turn), SpanKind.INTERNAL)
        attributes = dict(span.attributes or {})
        outcome = attributes.pop("gen_ai.tool.call.id")
        assert attributes.pop("error.type", "done") == outcome
        assert (span.status.status_code is StatusCode.ERROR) == (outcome != "done")
        assert attributes == {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": span.name.removeprefix("execute_tool "),
            "gen_ai.tool.type": "extension",
            "gen_ai.conversation.id": chat["id"],
        }


async def test_compaction_is_a_span_of_its_turn(
    dsn: str, database: Database, recorded: RecordedSpans
) -> None:
    async with run_with_window(dsn, WindowedModel(8000)) as chatd:
        chat = await chatd.api.create(system_prompt=MARK)
        await insert_turns(database, chat, 20, size=370)
        await chatd.api.send(chat["id"], MARK)
        turn = await recorded.one("turn")
    (compaction,) = recorded.named("compaction")
    assert recorded.children(compaction) == ["chat m-one", "store compact"]
    assert recorded.children(turn)[-3:] == ["compaction", "chat m-one", "store finish_turn"]
    assert dict(compaction.attributes or {}) == {
        "gen_ai.conversation.id": chat["id"],
        "chatd.reason": "size",
    }


async def test_queued_message_is_in_the_trace_of_its_request(
    dsn: str, recorded: RecordedSpans
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
        await recorded.one("turn", 3)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        asked_by = [turn.parent and turn.parent.span_id for turn in recorded.named("turn")]
        sent = recorded.named("POST /api/v1/chats/{chat_id}/messages")
        assert asked_by == list(map(id_of, [*recorded.named(POST), *sent]))


async def test_rejected_request_and_malformed_traceparent(
    dsn: str, recorded: RecordedSpans
) -> None:
    async with running_daemon(dsn) as chatd:
        for odd in (MARK, "", REMOTE.upper(), REMOTE + "x", f"00-{'0' * 32}-{'0' * 16}-01"):
            answer = await chatd.api.http.get(f"/{MARK}?q={MARK}", headers={"traceparent": odd})
            assert answer.status_code == 404
        assert all(span.parent is None for span in recorded.named("GET"))
        assert len(recorded.named("GET")) == 5


async def test_no_span_and_no_traceparent_without_a_tracer_provider(dsn: str) -> None:
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
