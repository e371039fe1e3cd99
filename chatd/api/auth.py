"""Who is calling, how one is let in, and for whom one may act."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Protocol

from fastapi import Depends, Request
from starlette.types import Scope

from chatd.api import headers
from chatd.api.docs import ASSETS
from chatd.api.problems import BadRequest
from chatd.api.scope import LET_IN
from chatd.domain.owner import LOCAL_OWNER, MAX_OWNER_LENGTH, is_valid_owner

OPEN = frozenset({"/livez", "/readyz", "/openapi.json", "/docs", *(f"/{one}" for one in ASSETS)})
"""What is answered to everybody. Every other path, also one that is not there, asks who is calling."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling. What is created belongs to ``owner_id``."""

    owner_id: str
    admin: bool = False

    @property
    def sees(self) -> str | None:
        """Whose chats can be named by their ids; None: anybody's."""
        return None if self.admin else self.owner_id


class Stay:
    """How long one stream may stay."""

    def __init__(self, close: Callable[["Stay"], None]) -> None:
        self.ended = False
        """Whether its caller may not be here any more."""
        self._leave: Callable[[], None] | None = None
        self._close = close

    def on_end(self, leave: Callable[[], None]) -> None:
        """Have ``leave`` called once the stream must end; at once, if that is now."""
        self._leave = leave
        if self.ended:
            leave()

    def end(self) -> None:
        self.ended = True
        if self._leave is not None:
            self._leave()

    def close(self) -> None:
        """The stream is over, and does not count any more."""
        self._close(self)


@dataclass(slots=True, kw_only=True, eq=False)
class Pass:
    """What a caller was let in with; the streams that were opened with it end with it.

    It is good ``until`` a moment on the loop's clock, unless it is ended sooner.
    """

    identity: Identity
    until: float = math.inf
    ended: bool = False
    stays: set[Stay] = field(default_factory=set)

    def end(self) -> None:
        """It is not good any more."""
        self.ended = True
        for stay in tuple(self.stays):
            stay.end()


class Gatekeeper(Protocol):
    """Who lets callers in."""

    async def admit(self, credential: str | None) -> Pass:
        """The pass of who shows this bearer credential, or none.

        Raises:
            BadRequest: 401, this is nobody. DatabaseAway: it cannot be told just now.
        """


class Anyone:
    """Lets everybody in, as ``local``."""

    def __init__(self) -> None:
        self._everybody = Pass(identity=Identity(LOCAL_OWNER))

    async def admit(self, credential: str | None) -> Pass:  # noqa: ARG002 - nobody is asked
        return self._everybody


def unauthorized(detail: str) -> BadRequest:
    """A 401 for a caller who is not known."""
    return BadRequest(
        "unauthorized",
        detail,
        HTTPStatus.UNAUTHORIZED,
        headers={"www-authenticate": "Bearer"},
    )


NO_CREDENTIAL = "Send a token, in the header Authorization: Bearer TOKEN."


def acting(scope: Scope) -> Identity:
    """Who a request acts for. Raises ``BadRequest`` (403, 422)."""
    passed: Pass = scope[LET_IN]
    identity, named = passed.identity, headers.given(scope, headers.OWNER)
    if named is None:
        return identity
    owner_id = _owner(named)
    if not identity.admin and owner_id != identity.owner_id:
        raise BadRequest(
            "not_an_admin",
            "X-Chatd-Owner: only an admin may act for another owner.",
            HTTPStatus.FORBIDDEN,
        )
    return Identity(owner_id, identity.admin)


def _owner(named: str) -> str:
    """An owner's name, as UTF-8 in a header."""
    try:
        owner_id = named.encode("latin-1").decode()
    except UnicodeError:
        owner_id = ""
    if not is_valid_owner(owner_id):
        raise headers.unfit(
            headers.OWNER,
            f"it is not an owner's name in UTF-8, of 1 to {MAX_OWNER_LENGTH} characters",
        )
    return owner_id


async def caller(request: Request) -> Identity:  # async: a plain function would be run in a thread
    """Who this request acts for."""
    return acting(request.scope)


Caller = Annotated[Identity, Depends(caller)]
