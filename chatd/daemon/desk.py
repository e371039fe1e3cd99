"""What the routes work with, made from the settings; made anew when these are reloaded."""

from chatd.api.desk import Desk
from chatd.api.limits import Limits
from chatd.api.stays import Stays
from chatd.daemon.rooms import Rooms
from chatd.llm.catalog import Catalog
from chatd.settings import Settings


def make_desk(settings: Settings, rooms: Rooms, catalog: Catalog, *, stays: Stays) -> Desk:
    """A desk with these limits and models; ``stays`` goes with the process, since streams go on."""
    return Desk(
        chats=rooms.chats,
        actions=rooms.actions,
        messages=rooms.messages,
        queue=rooms.queue,
        reads=rooms.reads,
        lists=rooms.lists,
        streams=rooms.streams,
        hub=rooms.hub,
        list_hub=rooms.list_hub,
        metrics=rooms.metrics,
        hints=rooms.hints,
        catalog=catalog,
        models=rooms.models,
        keys=rooms.keys,
        dress=rooms.dress,
        limits=Limits(
            max_content_parts=settings.limits.max_content_parts,
            max_labels=settings.limits.max_labels,
            max_tools=settings.turn.max_tools,
        ),
        stays=stays,
        keepalive_seconds=settings.http.sse_keepalive_seconds,
        event_retention_days=settings.stream.event_retention_days,
        stale_after_seconds=settings.worker.stale_after_seconds,
    )
