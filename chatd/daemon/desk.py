"""What the routes work with, made from the settings; made anew when these are reloaded."""

from chatd.api.desk import ApiContext
from chatd.api.limits import RequestLimits
from chatd.api.stays import StreamSessions
from chatd.daemon.rooms import Rooms
from chatd.llm.catalog import Catalog
from chatd.settings import Settings


def make_desk(
    settings: Settings, rooms: Rooms, catalog: Catalog, *, stays: StreamSessions
) -> ApiContext:
    """A desk with these limits and models; ``stream_sessions`` goes with the process, since streams go on."""
    return ApiContext(
        chats=rooms.chats,
        tool_calls=rooms.actions,
        messages=rooms.messages,
        queue=rooms.queue,
        reads=rooms.reads,
        chat_lists=rooms.lists,
        stream_reads=rooms.streams,
        hub=rooms.hub,
        list_hub=rooms.list_hub,
        metrics=rooms.metrics,
        change_bus=rooms.hints,
        catalog=catalog,
        models=rooms.models,
        idempotency=rooms.keys,
        present=rooms.dress,
        limits=RequestLimits(
            max_content_parts=settings.limits.max_content_parts,
            max_labels=settings.limits.max_labels,
            max_tools=settings.turn.max_tools,
        ),
        stream_sessions=stays,
        keepalive_seconds=settings.http.sse_keepalive_seconds,
        event_retention_days=settings.stream.event_retention_days,
        lease_seconds=settings.worker.stale_after_seconds,
    )
