"""The door: nobody comes to a route, or has a body read, before it is known who it is."""

import math
from collections.abc import Collection
from http import HTTPStatus

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from chatd.api import problems
from chatd.api.auth import OPEN, Gatekeeper, Pass
from chatd.api.problems import BadRequest
from chatd.api.rates import Rates
from chatd.api.scope import LET_IN, only
from chatd.domain.errors import DatabaseUnavailable


class Door:
    """Puts a ``Pass`` into the scope of every request, or answers for the application: 401, 429, 503."""

    def __init__(
        self, app: ASGIApp, *, keeper: Gatekeeper, rates: Rates, open_to_all: Collection[str] = OPEN
    ) -> None:
        self._app = app
        self._open = open_to_all
        self._keeper = keeper
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open:
            await self._app(scope, receive, send)
            return
        try:
            scope[LET_IN] = await self._let_in(scope)
        except (BadRequest, DatabaseUnavailable) as error:
            refusal = problems.refusal(error)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _let_in(self, scope: Scope) -> Pass:
        passed = await self._keeper.admit(_credential(scope))
        wait = self._rates.take(passed.identity.owner_id, anyio.current_time())
        if wait:
            raise BadRequest(
                "too_many_requests",
                "Too many requests (limits.requests_per_second).",
                HTTPStatus.TOO_MANY_REQUESTS,
                headers={"retry-after": str(math.ceil(wait))},
            )
        return passed


def _credential(scope: Scope) -> str | None:
    """What stands behind ``Bearer`` in the header, if there is one such header."""
    given = only(scope, b"authorization")
    if given is None:
        return None
    scheme, _, credential = given.decode("latin-1").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None
