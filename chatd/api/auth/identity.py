"""Identities of callers, and the grants that authenticators give them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from chatd.api.errors.problems import HttpProblem
from chatd.domain.owner import LOCAL_OWNER

NO_CREDENTIAL_DETAIL = "Send a token, in the header Authorization: Bearer TOKEN."


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner that a caller acts for. New chats belong to ``owner_id``."""

    owner_id: str
    admin: bool = False

    @property
    def owner_filter(self) -> str | None:
        """The owner whose chats the caller may reach by id; None for an admin, who may reach all."""
        return None if self.admin else self.owner_id


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
        self._grant = Grant(identity=Identity(LOCAL_OWNER))

    async def authenticate(self, credential: str | None) -> Grant:  # noqa: ARG002 - no credential is needed
        return self._grant


def unauthorized(detail: str) -> HttpProblem:
    """Return a 401 that asks for a bearer token."""
    return HttpProblem(
        "unauthorized",
        detail,
        headers={"www-authenticate": "Bearer"},
    )
