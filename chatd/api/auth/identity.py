"""Identities of callers, and the grants that authenticators give them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, Self
from uuid import UUID

from chatd.api.errors.problems import HttpProblem
from chatd.domain.access_scope import OWN_CHATS, AccessScope
from chatd.domain.owner import LOCAL_OWNER
from chatd.domain.request_actor import RequestActor

_LOCAL_SCOPES: Final = OWN_CHATS | {AccessScope.OPERATE, AccessScope.METRICS}
"""Scopes of everybody without authentication, on loopback only: callers are this host's operators."""

NO_CREDENTIAL_DETAIL = "Send a token, in the header Authorization: Bearer TOKEN."


@dataclass(frozen=True, slots=True)
class Identity:
    """The actor of a request, the owner that the request acts as, and the scopes that it has.

    Everything that depends on the caller uses ``owner_id``: chats, limits, streams and idempotency keys.
    """

    actor: RequestActor
    owner_id: str
    scopes: frozenset[AccessScope]

    @classmethod
    def of_credential(
        cls,
        owner_id: str,
        scopes: frozenset[AccessScope],
        *,
        token_id: UUID | None = None,
    ) -> Self:
        """Return the identity of a credential that acts for its own owner."""
        return cls(RequestActor(owner_id, token_id), owner_id, scopes)

    def acting_as(self, owner_id: str) -> Self:
        """Return the identity that this one has as ``owner_id``: that owner's, and nothing more."""
        granted = OWN_CHATS if AccessScope.ACT_FOR in self.scopes else self.scopes & OWN_CHATS
        return replace(self, owner_id=owner_id, scopes=granted)


@dataclass(slots=True, kw_only=True, eq=False)
class Grant:
    """Permission to call the API, given by an authenticator for one credential.

    It is valid until ``expires_at`` on the event loop's clock, or until it is ended before that.
    The streams that were opened with it end with it.
    """

    identity: Identity
    expires_at: float = math.inf
    ended: bool = False
    end_callbacks: set[Callable[[], None]] = field(default_factory=set)
    """Called once the grant ends: one for each open stream."""

    def end(self) -> None:
        """End the grant, because its credential was revoked or has expired."""
        self.ended = True
        for callback in tuple(self.end_callbacks):
            callback()


class Authenticator(Protocol):
    """Authentication method: turns a credential into a grant."""

    async def authenticate(self, credential: str | None) -> Grant:
        """Return the grant of a bearer credential, or of a caller without one.

        Raises:
            HttpProblem: 401, the credential is missing or not valid; 503, it cannot be checked now.
            DatabaseUnavailable: It cannot be checked now.
        """


class AnonymousAuthenticator:
    """Authenticator that takes every caller for the owner ``local``."""

    def __init__(self) -> None:
        self._grant = Grant(identity=Identity.of_credential(LOCAL_OWNER, _LOCAL_SCOPES))

    async def authenticate(self, credential: str | None) -> Grant:  # noqa: ARG002 - no credential is needed
        return self._grant


def unauthorized(detail: str) -> HttpProblem:
    """Return a 401 that asks for a bearer token."""
    return HttpProblem(
        "unauthorized",
        detail,
        headers={"www-authenticate": "Bearer"},
    )


def insufficient_scope(detail: str, *needed: AccessScope) -> HttpProblem:
    """Return a 403 that names the scopes of which a token needs one."""
    names = " ".join(needed)
    return HttpProblem(
        "insufficient_scope",
        detail,
        headers={"www-authenticate": f'Bearer error="insufficient_scope", scope="{names}"'},
    )
