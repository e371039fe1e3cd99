"""Authentication of requests: those without a valid credential are refused before their body is read."""

import math
from time import monotonic

from starlette.types import Scope

from chatd.api.auth.acting import acting_identity
from chatd.api.auth.identity import Authenticator
from chatd.api.auth.rate_limit import TokenBuckets
from chatd.api.errors.problems import HttpProblem
from chatd.api.scope import GRANT, IDENTITY, single_header


class Authentication:
    """Authentication by the ``authenticator``, and the rate limit of the owner that a request acts as."""

    def __init__(self, authenticator: Authenticator, token_buckets: TokenBuckets) -> None:
        self._authenticator = authenticator
        self._token_buckets = token_buckets

    async def identify(self, scope: Scope) -> None:
        """Put the caller's ``Grant`` and ``Identity`` into the scope, and count the request.

        Raises ``HttpProblem`` (401, 403, 422, 429, 503) and ``DatabaseUnavailable``.
        """
        grant = scope[GRANT] = await self._authenticator.authenticate(_bearer_token(scope))
        identity = scope[IDENTITY] = acting_identity(scope, grant.identity)
        self._count(identity.owner_id)

    def _count(self, owner_id: str) -> None:
        """Count a request of this owner. Raises ``HttpProblem`` (429)."""
        wait_seconds = self._token_buckets.take(owner_id, monotonic())
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
