"""The HTTP API, built from the settings and the shared parts."""

from collections.abc import Callable

from starlette.types import ASGIApp

from chatd.adapters.config import AdapterConfig
from chatd.adapters.registry import build_adapters
from chatd.api.adapter import AdapterPaths
from chatd.api.app import PUBLIC_PATHS, create_app
from chatd.api.auth.identity import Authenticator
from chatd.api.auth.stream_sessions import StreamSessions
from chatd.api.context import ApiContext
from chatd.api.middleware.admission import Admission
from chatd.api.pipeline import RequestPipeline
from chatd.api.routes.hot import HotRoutes
from chatd.api.routes.operations import METRICS_PATH, Operations
from chatd.daemon.runtime_config import RuntimeConfigHolder
from chatd.daemon.services import Services
from chatd.settings import Settings
from chatd.settings.keywords import keywords_for


def build_api(
    settings: Settings,
    services: Services,
    config: RuntimeConfigHolder,
    *,
    authenticator: Authenticator,
    operations: Operations,
    not_ready: Callable[[], str | None],
    database_reachable: Callable[[], bool],
    admission: Admission,
) -> ASGIApp:
    """Build the application that the server calls. It reads ``config`` anew for each request."""
    adapters = build_adapters(_adapter_config(settings))
    context = _build_context(settings, services, config)
    app = create_app(
        context,
        adapters=adapters,
        operations=operations,
        not_ready=not_ready,
        database_reachable=database_reachable,
    )
    pipeline = RequestPipeline(
        app,
        config=config.api,
        metrics=services.metrics.http,
        authenticator=authenticator,
        public_paths=PUBLIC_PATHS | {METRICS_PATH} if operations.public_metrics else PUBLIC_PATHS,
        admission=admission,
        cors_origins=settings.http.cors_origins,
        loopback_only=settings.auth.mode == "none",
        database_reachable=database_reachable,
        hot_routes=HotRoutes(context),
        adapters=adapters,
    )
    # Without adapters there is not one step more.
    return AdapterPaths(pipeline, adapters) if adapters else pipeline


def _adapter_config(settings: Settings) -> AdapterConfig:
    adapters = settings.adapters
    values = keywords_for(AdapterConfig, adapters)
    return AdapterConfig(**values | {"tools": [tool.model_dump() for tool in adapters.tools]})


def _build_context(
    settings: Settings, services: Services, config: RuntimeConfigHolder
) -> ApiContext:
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
        indexes_messages=settings.database.index_messages,
    )
