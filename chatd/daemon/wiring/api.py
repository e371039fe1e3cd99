"""Dependencies of the routes, built from the settings and the shared parts."""

from chatd.api.auth.stream_sessions import StreamSessions
from chatd.api.context import ApiContext
from chatd.daemon.runtime_config import RuntimeConfigHolder
from chatd.daemon.services import Services
from chatd.settings import Settings


def build_api_context(
    settings: Settings,
    services: Services,
    config: RuntimeConfigHolder,
) -> ApiContext:
    """Build the context that every route gets. It reads ``config`` anew for each request."""
    return ApiContext(
        store=services.store,
        hub=services.hub,
        list_hub=services.list_hub,
        metrics=services.metrics,
        config=config.api,
        present=services.presenter,
        stream_sessions=StreamSessions(max_per_owner=config.max_streams_per_owner),
        event_retention_days=settings.stream.event_retention_days,
        lease_seconds=settings.worker.lease_seconds,
    )
