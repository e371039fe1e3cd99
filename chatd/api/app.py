"""The FastAPI application: routes, error handlers, and the order of the middlewares."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope
from typing_extensions import override

from chatd import __version__
from chatd.api.auth.identity import AnonymousAuthenticator, Authenticator
from chatd.api.auth.middleware import AuthMiddleware
from chatd.api.auth.rate_limit import TokenBuckets
from chatd.api.config import ApiConfig
from chatd.api.context import ApiContext
from chatd.api.errors import problems
from chatd.api.errors.problems import HttpProblem
from chatd.api.middleware import request_slots
from chatd.api.middleware.admission import Admission, AdmissionMiddleware
from chatd.api.middleware.browser_guard import BrowserGuardMiddleware
from chatd.api.middleware.metrics import MetricsMiddleware
from chatd.api.middleware.request_body import RequestBodyMiddleware, has_body
from chatd.api.middleware.request_id import RequestIdMiddleware
from chatd.api.middleware.request_slots import RequestSlotsMiddleware, has_large_body
from chatd.api.middleware.response_headers import ResponseHeadersMiddleware
from chatd.api.middleware.stream_body import StreamBodyMiddleware
from chatd.api.openapi import document
from chatd.api.request import headers
from chatd.api.routes import (
    chat_list,
    chat_list_stream,
    chat_stream,
    chats,
    docs,
    explain,
    files,
    health,
    messages,
    queue,
    tool_results,
)
from chatd.api.routes import operations as operations_routes
from chatd.api.routes.operations import METRICS_PATH, Operations
from chatd.supervision.keyed_slots import KeyedSlots

PUBLIC_PATHS = frozenset(
    {"/livez", "/readyz", "/openapi.json", "/docs", *(f"/{path}" for path in docs.ASSETS)}
)
"""Paths that need no credential. All others do, whether they exist or not."""

_DESCRIPTION = """Chats with language models that outlive browsers, deploys and crashed hosts.

Create a chat, follow its stream, and come back to it with the id of the last event you have."""

# Starlette tries them in this order, so the busiest come first. ``chat_list_stream`` must precede
# ``chats``, which would take its path for that of a chat with the id "stream".
_ROUTERS = tuple(
    module.router
    for module in (
        chat_stream, messages, chat_list_stream, chats, chat_list, explain, files, queue, tool_results,
        health, operations_routes,
    )
)  # fmt: skip


def create_app(
    context: ApiContext | None,
    *,
    authenticator: Authenticator | None = None,
    operations: Operations | None = None,
    not_ready: Callable[[], str | None] = lambda: None,
    database_reachable: Callable[[], bool] = lambda: True,
    admission: Admission | None = None,
    cors_origins: Sequence[str] = (),
    loopback_only: bool = False,
) -> FastAPI:
    """Return the application. Without a ``context`` it can only describe itself.

    Without an ``authenticator`` every caller is the local owner. ``not_ready`` returns why the process
    is not ready, or None. Requests are served once ``admission`` is open (None: always). Pages of
    ``cors_origins`` may call the API too. With ``loopback_only`` only requests to names of the loopback
    address are served.
    """
    app = _App(
        title="chatd",
        version=__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.context = context
    app.state.operations = operations
    app.state.not_ready = not_ready
    app.state.database_reachable = database_reachable
    problems.install(app)
    docs.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    app.state.routes = [route for router in _ROUTERS for route in router.routes]
    if context is not None:
        metrics_are_public = operations is not None and operations.public_metrics
        app.user_middleware = _middlewares(
            context,
            authenticator=authenticator or AnonymousAuthenticator(),
            public_paths=PUBLIC_PATHS | {METRICS_PATH} if metrics_are_public else PUBLIC_PATHS,
            admission=admission or _open_admission(),
            cors_origins=cors_origins,
            loopback_only=loopback_only,
            database_reachable=database_reachable,
        )
    return app


def _middlewares(
    context: ApiContext,
    *,
    authenticator: Authenticator,
    public_paths: frozenset[str],
    admission: Admission,
    cors_origins: Sequence[str],
    loopback_only: bool,
    database_reachable: Callable[[], bool],
) -> list[Middleware]:
    """Return the middlewares, from the outermost to the innermost.

    Three are further out: ``ConnectionDrainMiddleware``, which belongs to the server, and
    ``StreamBodyMiddleware`` and ``RequestIdMiddleware`` (see ``_App.build_middleware_stack``).
    """
    config = context.config
    return [
        # Counts what any of the others answers.
        Middleware(MetricsMiddleware, metrics=context.metrics.http),
        Middleware(ResponseHeadersMiddleware),
        # Before CORS: a page of another site gets no answer, not even to a preflight request.
        Middleware(
            BrowserGuardMiddleware, allowed_origins=cors_origins, loopback_only=loopback_only
        ),
        # Before authentication: a browser's preflight request carries no credential.
        *([_cors(cors_origins)] if cors_origins else []),
        # Before authentication, which may need the database.
        Middleware(AdmissionMiddleware, admission=admission, open_paths=public_paths),
        # Before anything is done for a request, its body read included.
        Middleware(
            AuthMiddleware,
            authenticator=authenticator,
            token_buckets=TokenBuckets(per_second=lambda: config().requests_per_second),
            public_paths=public_paths,
        ),
        *_request_slots(config, database_reachable),
    ]


def _request_slots(
    config: Callable[[], ApiConfig], database_reachable: Callable[[], bool]
) -> list[Middleware]:
    """Return the middlewares that read a request's body, and have it wait for others of its owner."""

    def slots(
        limit: Callable[[], int],
        counted: Callable[[Scope], bool],
        wait_seconds: float = request_slots.WAIT_SECONDS,
        refusal: HttpProblem = request_slots.TOO_MANY_REQUESTS,
        shared_limit: Callable[[], int] | None = None,
    ) -> Middleware:
        return Middleware(
            RequestSlotsMiddleware,
            slots=KeyedSlots(limit, shared_limit=shared_limit, wait_seconds=wait_seconds),
            counted=counted,
            refusal=refusal,
            database_reachable=database_reachable,
        )

    def max_requests() -> int:
        return config().max_requests_per_owner

    return [
        # Before the body is read, which the client sends no faster than it is read.
        slots(lambda: max_requests() and max(max_requests(), request_slots.MAX_BODIES), has_body),
        Middleware(RequestBodyMiddleware, max_body_bytes=lambda: config().max_body_bytes),
        # After it, since a client takes its time. One that waits for the first takes none of the others.
        slots(lambda: min(max_requests(), 1), has_large_body),
        slots(
            lambda: config().max_searches_per_owner,
            chat_list.is_search,
            request_slots.SEARCH_WAIT_SECONDS,
            request_slots.TOO_MANY_SEARCHES,
        ),
        slots(
            max_requests,
            lambda _: True,
            shared_limit=lambda: request_slots.beside_others(max_requests()),
        ),
    ]


def _open_admission() -> Admission:
    admission = Admission()
    admission.open()
    return admission


def _cors(origins: Sequence[str]) -> Middleware:
    own_headers = (headers.IDEMPOTENCY_KEY, headers.LAST_EVENT_ID, headers.OWNER)
    return Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Cache-Control",
            "Content-Type",
            "Traceparent",
            "X-Request-Id",
            *(header.name for header in own_headers),
        ],
        expose_headers=["Location", "Retry-After", "X-Request-Id"],
    )


class _App(FastAPI):
    @override
    def build_middleware_stack(self) -> ASGIApp:
        context: ApiContext = self.state.context
        # Outside of Starlette's handler of unexpected errors, so that a 500 has its request id too.
        answered = RequestIdMiddleware(
            super().build_middleware_stack(),
            slow_seconds=lambda: context.config().slow_request_seconds,
        )
        return StreamBodyMiddleware(answered)

    @override
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = document.finalize(super().openapi(), public_paths=PUBLIC_PATHS)
        return self.openapi_schema
