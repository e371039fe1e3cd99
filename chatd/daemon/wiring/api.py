"""What the routes work with, made from the settings; made anew when these are reloaded."""

from chatd.api.auth.stream_sessions import StreamSessions
from chatd.api.context import ApiContext
from chatd.api.request.limits import RequestLimits
from chatd.daemon.services import Services
from chatd.llm.catalog import Catalog
from chatd.settings import Settings


def build_api_context(
    settings: Settings, services: Services, catalog: Catalog, *, stream_sessions: StreamSessions
) -> ApiContext:
    """A desk with these limits and models; ``stream_sessions`` goes with the process, since streams go on."""
    return ApiContext(
        chats=services.chats,
        tool_calls=services.tool_calls,
        messages=services.messages,
        queue=services.queue,
        reads=services.chat_reader,
        chat_lists=services.chat_lists,
        stream_reads=services.stream_reads,
        hub=services.hub,
        list_hub=services.list_hub,
        metrics=services.metrics,
        change_bus=services.change_bus,
        catalog=catalog,
        models=services.models,
        idempotency=services.idempotency,
        present=services.presenter,
        limits=RequestLimits(
            max_content_parts=settings.limits.max_content_parts,
            max_labels=settings.limits.max_labels,
            max_tools=settings.turn.max_tools,
        ),
        stream_sessions=stream_sessions,
        keepalive_seconds=settings.http.sse_keepalive_seconds,
        event_retention_days=settings.stream.event_retention_days,
        lease_seconds=settings.worker.lease_seconds,
    )
