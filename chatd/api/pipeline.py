"""The way of a request from the server to its route, as one list of steps.

Each step is a plain function of ``middleware`` or ``auth``, which raises what refuses the request. There is
one wrapper of ``send`` for all of them. It acts on the head of the response, and a stream's body goes past
it. The benchmarks ``turns``, ``parts`` and ``memory`` watch it.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.adapter import EXPOSED_HEADERS, Adapter
from chatd.api.auth.authentication import Authentication
from chatd.api.auth.identity import Authenticator
from chatd.api.auth.rate_limit import TokenBuckets
from chatd.api.config import ApiConfig
from chatd.api.errors import problems
from chatd.api.errors.problems import HttpProblem
from chatd.api.middleware.admission import Admission
from chatd.api.middleware.browser_guard import BrowserGuard
from chatd.api.middleware.exchange import Exchange, StreamResponse, forget_request
from chatd.api.middleware.metrics import record_request
from chatd.api.middleware.request_body import read_body, replay_body
from chatd.api.middleware.request_id import assign_request_id, log_request
from chatd.api.middleware.request_slots import RequestSlots, is_stream
from chatd.api.middleware.response_headers import add_headers
from chatd.api.request import headers
from chatd.api.routes.chat_list import is_search
from chatd.api.routes.hot import HotRoutes
from chatd.api.scope import EXCHANGE, route_template, single_header
from chatd.telemetry import tracing
from chatd.telemetry.metrics import HttpMetrics


class RequestPipeline:
    """The ASGI application that the server calls: steps, and then ``app``.

    Requests are served once ``admission`` is open. Those of ``public_paths`` need no credential. Every
    other path needs one, whether it exists or not. Pages of ``cors_origins`` may call the API too. With
    ``loopback_only`` only requests to names of the loopback address are served.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        config: Callable[[], ApiConfig],
        metrics: HttpMetrics,
        authenticator: Authenticator,
        public_paths: Collection[str],
        admission: Admission,
        cors_origins: Sequence[str],
        loopback_only: bool,
        database_reachable: Callable[[], bool],
        hot_routes: HotRoutes | None,
        adapters: Sequence[Adapter] = (),
    ) -> None:
        self._app = app
        self.hot_routes = hot_routes
        """Routes that are served without ``app``. Without them it serves all, with the same answers."""
        self._config = config
        self._metrics = metrics
        self._public_paths = public_paths
        self._admission = admission
        self._browser_guard = BrowserGuard(
            allowed_origins=cors_origins, loopback_only=loopback_only
        )
        self._authentication = Authentication(
            authenticator, TokenBuckets(per_second=lambda: config().requests_per_second)
        )
        self._slots = RequestSlots(
            lambda: config().max_requests_per_owner,
            lambda: config().max_searches_per_owner,
            is_search=is_search,
            database_reachable=database_reachable,
        )
        self._cors: ASGIApp = (
            _cors(self._serve, cors_origins, adapters) if cors_origins else self._serve
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = await self._answer(scope, receive, send)
        if stream is not None:
            forget_request(scope)
            await stream.send_body(send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> StreamResponse | None:
        """Answer a request. Return its response if that is a stream, whose body is to be sent."""
        assign_request_id(scope)
        with tracing.request_span(scope["method"], _traceparent(scope)) as span:
            exchange = scope[EXCHANGE] = Exchange(span)

            async def send_response(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._begin_response(scope, exchange, message)
                elif not message.get("more_body", False):
                    exchange.is_complete = True
                await send(message)

            try:
                await self._serve_browser(scope, receive, send_response)
            except BaseException as error:
                if exchange.stream is not None:
                    exchange.stream.close()
                if not (exchange.is_complete and isinstance(error, Exception)):
                    raise
                # Swallowed: it was answered and logged as ``http.unexpected``, and uvicorn would log it
                # again.
        return exchange.stream

    def _begin_response(self, scope: Scope, exchange: Exchange, message: Message) -> None:
        """Do everything that is due when a response begins, and complete its head."""
        exchange.has_begun = True
        self._admission.answered(exchange.task)
        if is_stream(message):
            exchange.release_slots()
        add_headers(scope, message, closes_connection=self._admission.closes_connections)
        status, seconds = message["status"], exchange.seconds
        record_request(self._metrics, scope, status, seconds)
        log_request(scope, status, seconds, slow_seconds=self._config().slow_request_seconds)
        tracing.end_request(exchange.span, scope["method"], route_template(scope), status)

    async def _serve_browser(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that a page of another site may have caused."""
        try:
            # Before CORS: a page of another site gets no answer, not even to a preflight request.
            self._browser_guard.check(scope)
        except HttpProblem as refusal:
            await problems.to_response(refusal)(scope, receive, send)
            return
        # Before authentication: a browser's preflight request carries no credential.
        await self._cors(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and answer the errors of all steps that follow."""
        exchange: Exchange = scope[EXCHANGE]
        try:
            try:
                await self._take_steps(scope, receive, send)
            except asyncio.CancelledError:
                if not exchange.has_begun:
                    self._admission.check_cancelled(exchange.task)
                raise
        except Exception as error:
            if exchange.has_begun:
                raise
            response = await problems.respond_to(scope, error)
            await response(scope, receive, send)
        finally:
            self._admission.answered(exchange.task)
            exchange.release_slots()

    async def _take_steps(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[EXCHANGE]
        is_public = scope["path"] in self._public_paths
        # Before authentication, which may need the database.
        if not is_public:
            self._admission.check()
        self._admission.started(exchange.task)
        # Before anything is done for a request, its body read included.
        if not is_public:
            await self._authentication.identify(scope)
        await self._slots.take_before_body(scope, exchange.slots)
        body = await read_body(scope, receive, limit=self._config().max_body_bytes)
        await self._slots.take_after_body(scope, exchange.slots)
        if self.hot_routes is not None:
            response = await self.hot_routes.respond(scope, body)
            if response is not None:
                await response(scope, receive, send)
                return
        if body is not None:
            receive = replay_body(body, receive)
            del body  # held by nothing here while FastAPI works on it
        await self._app(scope, receive, send)


def _traceparent(scope: Scope) -> str | None:
    value = single_header(scope, b"traceparent")
    return None if value is None else value.decode("latin-1")


def _cors(app: ASGIApp, origins: Sequence[str], adapters: Sequence[Adapter]) -> CORSMiddleware:
    """Return the CORS middleware. Clients of adapters send headers of their own, whatever these are."""
    own_headers = (headers.IDEMPOTENCY_KEY, headers.LAST_EVENT_ID, headers.OWNER)
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"]
        if adapters
        else [
            "Authorization",
            "Cache-Control",
            "Content-Type",
            "Traceparent",
            "X-Request-Id",
            *(header.name for header in own_headers),
        ],
        expose_headers=[
            "Location",
            "Retry-After",
            "X-Request-Id",
            *(EXPOSED_HEADERS if adapters else ()),
        ],
    )
