"""The console before the API: pages are made here, everything else is passed on."""

import time
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.errors import problems
from chatd.api.errors.problems import HttpProblem
from chatd.api.middleware.browser_guard import BrowserGuard
from chatd.api.middleware.request_id import assign_request_id
from chatd.console import gate
from chatd.console.api_client import ApiClient, ApiError
from chatd.console.assets import Assets
from chatd.console.config import ConsoleConfig
from chatd.console.page import VISITOR, Visitor, not_found, respond_to
from chatd.console.pages import ROUTES
from chatd.console.session import Session, read_session

_API_PREFIXES: Final = ("/api/", "/metrics", "/statusz")
_PAGE_PREFIXES: Final = ("/chats/", "/console/")

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }.items()
)
_NO_STORE: Final = (b"cache-control", b"no-store")


class Console:
    """The ASGI application that the server calls in place of ``api``, which it passes requests on to."""

    def __init__(self, api: ASGIApp, config: ConsoleConfig) -> None:
        self._api = api
        self._config = config
        self._assets = Assets()
        self._routes: list[Route] = [*ROUTES, self._assets.route]
        self._paths = {route.path for route in ROUTES}
        self._guard = BrowserGuard(
            allowed_origins=config.allowed_origins, loopback_only=config.loopback_only
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(_API_PREFIXES):
            await self._pass_on(scope, receive, send)
        elif path.startswith(_PAGE_PREFIXES) or path in self._paths:
            await self._serve(scope, receive, _with_headers(send))
        else:
            await self._api(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the API, with the credential of its session if it has one."""
        if self._config.signs_in and not gate.has_credential(scope):
            session = self._session(scope)
            if session is not None and session.credential:
                try:
                    gate.admit(scope, session)
                except HttpProblem as refusal:
                    await problems.to_response(refusal)(scope, receive, send)
                    return
        await self._api(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._guard.check(scope)
        except HttpProblem as refusal:
            await problems.to_response(refusal)(scope, receive, send)
            return
        assign_request_id(scope)
        session = self._session(scope) if self._config.signs_in else None
        scope[VISITOR] = Visitor(
            api=ApiClient(self._api, scope, session.credential if session else None),
            session=session,
            config=self._config,
            assets=self._assets,
        )
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        for route in self._routes:
            match, more = route.matches(request.scope)
            if match is Match.FULL:
                request.scope.update(more)
                try:
                    answer: Response = await route.endpoint(request)
                except ApiError as error:
                    answer = respond_to(request, error)
                except Exception as error:  # noqa: BLE001 - logged there, as for a route of the API
                    await problems.respond_to(request.scope, error)
                    answer = respond_to(request, ApiError(500, {}))
                return answer
        return not_found(request)

    def _session(self, scope: Scope) -> Session | None:
        return read_session(scope, self._config, now=time.time())


def _with_headers(send: Send) -> Send:
    """Return a ``send`` that adds the headers of all pages."""

    async def send_page(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *_HEADERS]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append(_NO_STORE)
            message = {**message, "headers": headers}
        await send(message)

    return send_page
