"""Spans of real processes reach a collector, also over a takeover, and hold no content of chats."""

import gzip
import signal
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from support.database_inspector import inspect_database
from support.eventually import eventually
from support.processes import HANGING_SCRIPTS, ChatdProcess, replicas
from support.sse_client import ChatView, client

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAID = "anchovy"


class Collector:
    """Return the spans that the collector received."""

    def __init__(self) -> None:
        self.url = ""
        self.sent: list[ResourceSpans] = []
        self.raw = b""

    def spans(self, name: str, sender: ChatdProcess | None = None) -> list[Span]:
        """Return the spans of this name, of all processes or of one."""
        return [
            span
            for resource in list(self.sent)
            if sender is None or sender_id(resource) == str(sender.worker_id)
            for scope in resource.scope_spans
            for span in scope.spans
            if span.name == name
        ]


def sender_id(sent: ResourceSpans) -> str:
    """Return the id of the process that sent these spans."""
    told = {one.key: one.value.string_value for one in sent.resource.attributes}
    assert told["service.name"] == "chatd"
    return told["service.instance.id"]


@contextmanager
def running_collector() -> Iterator[Collector]:
    collector = Collector()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            collector.raw += body
            collector.sent += ExportTraceServiceRequest.FromString(body).resource_spans
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
async def test_turn_and_its_takeover_are_one_trace(tmp_path: Path, dsn: str) -> None:
    with running_collector() as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        async with (
            replicas(tmp_path, dsn, "a", scripts=HANGING_SCRIPTS, environment=environment) as (
                owner,
            ),
            client(owner) as own,
            inspect_database(dsn) as stored,
            AsyncExitStack() as stack,
        ):
            answer = await own.http.post(
                "/api/v1/chats",
                json={"content": f"[[slow]] {SAID}", "title": SAID},
                headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
            )
            chat_id = answer.json()["id"]
            await stored.wait_for_transition(chat_id, "claim")
            (other,) = await stack.enter_async_context(
                replicas(tmp_path, dsn, "b", environment=environment)
            )
            api = await stack.enter_async_context(client(other))
            view = await api.follow(chat_id, ChatView(), lambda view: len(view.preview) > 10)
            (post,) = await eventually(lambda: collector.spans("POST /api/v1/chats"))
            (claim,) = await eventually(lambda: collector.spans("claim", owner))
            owner.kill()
            await api.follow(chat_id, view, lambda view: view.status == "waiting")
            other.send_signal(signal.SIGTERM)  # the last spans are sent at the end
            assert await other.wait_for_exit() == 0
        (turn,) = collector.spans("turn", other)
        assert turn.trace_id.hex() == post.trace_id.hex() == TRACE
        assert turn.parent_span_id == post.span_id
        assert [link.span_id for link in turn.links] == [claim.span_id]
        (call,) = collector.spans("chat fake-1", other)
        assert call.parent_span_id == turn.span_id
    assert SAID.encode() not in collector.raw
