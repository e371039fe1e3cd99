"""Authentication middleware: rejects unauthenticated requests before anything reads their body."""

import math
from collections.abc import Collection

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from chatd.api.auth.acting import acting_identity
from chatd.api.auth.identity import Authenticator
from chatd.api.auth.rate_limit import TokenBuckets
from chatd.api.errors import problems
from chatd.api.errors.problems import HttpProblem
from chatd.api.scope import GRANT, IDENTITY, single_header
from chatd.domain.errors import DatabaseUnavailable


class AuthMiddleware:
    """Middleware that puts the caller's ``Grant`` and ``Identity`` into the scope.

    It answers 401, 403, 422, 429 or 503 to the others. Requests are counted for the owner that they act
    as. Those of ``public_paths`` pass without a grant. Every other path needs one,
    whether it exists or not.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        token_buckets: TokenBuckets,
        public_paths: Collection[str],
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
            grant = scope[GRANT] = await self._authenticator.authenticate(_bearer_token(scope))
            identity = scope[IDENTITY] = acting_identity(scope, grant.identity)
            self._count(identity.owner_id)
        except (HttpProblem, DatabaseUnavailable) as error:
            response = problems.to_response(error)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _count(self, owner_id: str) -> None:
        """Count a request of this owner. Raises ``HttpProblem`` (429)."""
        wait_seconds = self._token_buckets.take(owner_id, anyio.current_time())
        if wait_seconds:
            raise HttpProblem(
                "too_many_requests",
                "Too many requests (limits.requests_per_second).",
                headers={"retry-after": str(math.ceil(wait_seconds))},
            )


def _bearer_token(scope: Scope) -> str | None:
    """Return the token of the ``Authorization`` header, if there is exactly one such header."""
    value = single_header(scope, b"authorization")
    if value is None:
        return None
    scheme, _, credential = value.decode("latin-1").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None
