"""Who is calling, how one is let in, and for whom one may act."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Protocol

from fastapi import Depends, Request
from starlette.types import Scope

from chatd.api.errors.problems import HttpProblem
from chatd.api.request import headers
from chatd.api.routes.docs import ASSETS
from chatd.api.scope import GRANT
from chatd.domain.owner import LOCAL_OWNER, MAX_OWNER_LENGTH, is_valid_owner

PUBLIC_PATHS = frozenset(
    {"/livez", "/readyz", "/openapi.json", "/docs", *(f"/{one}" for one in ASSETS)}
)
"""What is answered to everybody. Every other path, also one that is not there, asks who is calling."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling. What is created belongs to ``owner_id``."""

    owner_id: str
    admin: bool = False

    @property
    def owner_filter(self) -> str | None:
        """Whose chats can be named by their ids; None: anybody's."""
        return None if self.admin else self.owner_id


class StreamSession:
    """How long one stream may stay."""

    def __init__(self, on_close: Callable[["StreamSession"], None]) -> None:
        self.ended = False
        """Whether its caller may not be here any more."""
        self._end_callback: Callable[[], None] | None = None
        self._on_close = on_close

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once the stream must end; at once, if that is now."""
        self._end_callback = callback
        if self.ended:
            callback()

    def end(self) -> None:
        self.ended = True
        if self._end_callback is not None:
            self._end_callback()

    def close(self) -> None:
        """The stream is over, and does not count any more."""
        self._on_close(self)


@dataclass(slots=True, kw_only=True, eq=False)
class Grant:
    """What a caller was let in with; the streams that were opened with it end with it.

    It is good ``expires_at`` a moment on the loop's clock, unless it is ended sooner.
    """

    identity: Identity
    expires_at: float = math.inf
    ended: bool = False
    stream_sessions: set[StreamSession] = field(default_factory=set)

    def end(self) -> None:
        """It is not good any more."""
        self.ended = True
        for stay in tuple(self.stream_sessions):
            stay.end()


class Authenticator(Protocol):
    """Who lets callers in."""

    async def authenticate(self, credential: str | None) -> Grant:
        """The pass of who shows this bearer credential, or none.

        Raises:
            BadRequest: 401, this is nobody. DatabaseAway: it cannot be told just now.
        """


class AnonymousAuthenticator:
    """Lets everybody in, as ``local``."""

    def __init__(self) -> None:
        self._grant = Grant(identity=Identity(LOCAL_OWNER))

    async def authenticate(self, credential: str | None) -> Grant:  # noqa: ARG002 - nobody is asked
        return self._grant


def unauthorized(detail: str) -> HttpProblem:
    """A 401 for a caller who is not known."""
    return HttpProblem(
        "unauthorized",
        detail,
        HTTPStatus.UNAUTHORIZED,
        headers={"www-authenticate": "Bearer"},
    )


UNAUTHENTICATED_DETAIL = "Send a token, in the header Authorization: Bearer TOKEN."


def acting_identity(scope: Scope) -> Identity:
    """Who a request acts for. Raises ``HttpProblem`` (403, 422)."""
    passed: Grant = scope[GRANT]
    identity, named = passed.identity, headers.header_value(scope, headers.OWNER)
    if named is None:
        return identity
    owner_id = _decode_owner(named)
    if not identity.admin and owner_id != identity.owner_id:
        raise HttpProblem(
            "not_an_admin",
            "X-Chatd-Owner: only an admin may act for another owner.",
            HTTPStatus.FORBIDDEN,
        )
    return Identity(owner_id, identity.admin)


def _decode_owner(value: str) -> str:
    """An owner's name, as UTF-8 in a header."""
    try:
        owner_id = value.encode("latin-1").decode()
    except UnicodeError:
        owner_id = ""
    if not is_valid_owner(owner_id):
        raise headers.invalid_header(
            headers.OWNER,
            f"it is not an owner's name in UTF-8, of 1 to {MAX_OWNER_LENGTH} characters",
        )
    return owner_id


async def resolve_caller(
    request: Request,
) -> Identity:  # async: a plain function would be run in a thread
    """Who this request acts for."""
    return acting_identity(request.scope)


Caller = Annotated[Identity, Depends(resolve_caller)]
