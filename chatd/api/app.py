"""The application: routes, problems, the door, and the limit on bodies."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from chatd import __version__
from chatd.api.auth.identity import PUBLIC_PATHS, AnonymousAuthenticator, Authenticator
from chatd.api.auth.middleware import AuthMiddleware
from chatd.api.auth.rate_limit import TokenBuckets
from chatd.api.context import ApiContext
from chatd.api.errors import problems
from chatd.api.middleware.metrics import MetricsMiddleware
from chatd.api.middleware.request_id import RequestIdMiddleware
from chatd.api.openapi import document
from chatd.api.request import headers
from chatd.api.routes import (
    chat_list,
    chat_list_stream,
    chat_stream,
    chats,
    docs,
    explain,
    health,
    messages,
    queue,
    tool_results,
)
from chatd.api.routes import operations as operators
from chatd.api.routes.operations import METRICS_PATH, Operations
from chatd.api.scope import single_header
from chatd.telemetry.metrics import HttpMetrics

_DESCRIPTION = """Chats with language models that outlive browsers, deploys and crashed hosts.

Create a chat, follow its stream, and come back to it with the id of the last event you have."""


def create_app(
    context: ApiContext | None,
    *,
    authenticator: Authenticator | None = None,
    operations: Operations | None = None,
    metrics: HttpMetrics | None = None,
    not_ready: Callable[[], str | None] = lambda: None,
    max_body_bytes: int = 4 * 1024 * 1024,
    cors_origins: Sequence[str] = (),
    requests_per_second: int = 500,
    slow_request_seconds: float = 1.0,
) -> FastAPI:
    """The application. Without a ``context`` it can only describe itself.

    ``authenticator`` lets callers in (not given: everybody), ``not_ready`` says why the process is not ready,
    or None. The limits are unlimited when they are 0. Pages of ``cors_origins`` may call too.
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
    app.state.slow_request_seconds = slow_request_seconds
    app.state.max_body_bytes = max_body_bytes
    app.state.token_buckets = TokenBuckets(per_second=requests_per_second)
    problems.install(app)
    docs.install(app)
    # They are tried in turn, so those that are asked most come first; but list_stream before chats: its
    # path must not be taken for that of a chat called "stream".
    rooms = (
        chat_stream, messages, chat_list_stream, chats, chat_list, explain, queue, tool_results, health, operators
    )  # fmt: skip
    for room in rooms:
        app.include_router(room.router)
    app.state.routes = [route for room in rooms for route in room.router.routes]
    # The layers, from the innermost.
    app.add_middleware(BodyLimitMiddleware, max_body_bytes=lambda: app.state.max_body_bytes)
    app.add_middleware(
        AuthMiddleware,
        authenticator=authenticator or AnonymousAuthenticator(),
        token_buckets=app.state.token_buckets,
        public_paths=PUBLIC_PATHS | {METRICS_PATH}
        if operations and operations.public_metrics
        else PUBLIC_PATHS,
    )
    if cors_origins:  # outside of the door: a browser asks first, and says nothing of who it is
        _add_cors(app, cors_origins)
    app.add_middleware(MetricsMiddleware, metrics=metrics or HttpMetrics())
    return app


def _add_cors(app: FastAPI, origins: Sequence[str]) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=_CORS_REQUEST_HEADERS,
        expose_headers=["Retry-After", "X-Request-Id"],
    )


_CORS_REQUEST_HEADERS = [
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Traceparent",
    "X-Request-Id",
    *(header.name for header in (headers.IDEMPOTENCY_KEY, headers.LAST_EVENT_ID, headers.OWNER)),
]
"""Headers that a page of another origin may send."""


class _App(FastAPI):
    @override
    def build_middleware_stack(self) -> ASGIApp:
        # Outside of everything, also of what answers 500: no answer goes without its request's id.
        return RequestIdMiddleware(
            super().build_middleware_stack(),
            slow_seconds=lambda: float(self.state.slow_request_seconds),
        )

    @override
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = document.finalize(super().openapi())
        return self.openapi_schema


class BodyLimitMiddleware:
    """Answer 413 to a body of more than ``max_body_bytes``, announced or not; 0: unlimited."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: Callable[[], int]) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._max_body_bytes()
        if scope["type"] != "http" or not most:
            await self._app(scope, receive, send)
            return
        announced = single_header(scope, b"content-length") or b"0"
        if announced.isdigit() and int(announced) > most:
            # The connection stays: closed under a body that still comes, the answer would be lost.
            refusal = problems.problem_response(
                _TOO_LARGE, "body_too_large", _too_large_detail(most)
            )
            await refusal(scope, receive, send)
            return
        taken, answering = 0, False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most and not answering:  # after that, one only waits for the end
                raise problems.HttpProblem("body_too_large", _too_large_detail(most), _TOO_LARGE)
            return message

        async def noted(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        await self._app(scope, counted, noted)


def _too_large_detail(limit: int) -> str:
    return f"The body is larger than {limit} bytes (http.max_body_bytes)."


_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
