"""The door: nobody comes to a route, or has a body read, before it is known who it is."""

import math
from collections.abc import Collection
from http import HTTPStatus

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from chatd.api.auth.identity import PUBLIC_PATHS, Authenticator, Grant
from chatd.api.auth.rate_limit import TokenBuckets
from chatd.api.errors import problems
from chatd.api.errors.problems import HttpProblem
from chatd.api.scope import GRANT, single_header
from chatd.domain.errors import DatabaseUnavailable


class AuthMiddleware:
    """Puts a ``Grant`` into the scope of every request, or answers for the application: 401, 429, 503."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        token_buckets: TokenBuckets,
        public_paths: Collection[str] = PUBLIC_PATHS,
    ) -> None:
        self._app = app
        self._public_paths = public_paths
        self._authenticator = authenticator
        self._token_buckets = token_buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._public_paths:
            await self._app(scope, receive, send)
            return
        try:
            scope[GRANT] = await self._authenticate(scope)
        except (HttpProblem, DatabaseUnavailable) as error:
            refusal = problems.to_response(error)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> Grant:
        passed = await self._authenticator.authenticate(_bearer_token(scope))
        wait = self._token_buckets.take(passed.identity.owner_id, anyio.current_time())
        if wait:
            raise HttpProblem(
                "too_many_requests",
                "Too many requests (limits.requests_per_second).",
                HTTPStatus.TOO_MANY_REQUESTS,
                headers={"retry-after": str(math.ceil(wait))},
            )
        return passed


def _bearer_token(scope: Scope) -> str | None:
    """What stands behind ``Bearer`` in the header, if there is one such header."""
    given = single_header(scope, b"authorization")
    if given is None:
        return None
    scheme, _, credential = given.decode("latin-1").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None
