"""The identity that a request acts for."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from chatd.api.auth.identity import Grant, Identity
from chatd.api.errors.problems import HttpProblem
from chatd.api.request import headers
from chatd.api.scope import GRANT, IDENTITY
from chatd.domain.owner import MAX_OWNER_LENGTH, is_valid_owner


def acting_identity(scope: Scope) -> Identity:
    """Return the identity that a request acts for, resolved at the first call.

    It is the caller's own, or that of the owner whom an admin names in ``X-Chatd-Owner``.
    Raises ``HttpProblem`` (403, 422).
    """
    identity: Identity | None = scope.get(IDENTITY)
    if identity is None:
        identity = scope[IDENTITY] = _resolve(scope)
    return identity


def _resolve(scope: Scope) -> Identity:
    grant: Grant = scope[GRANT]
    identity, owner_header = grant.identity, headers.header_value(scope, headers.OWNER)
    if owner_header is None:
        return identity
    owner_id = _decode_owner(owner_header)
    if not identity.admin and owner_id != identity.owner_id:
        raise HttpProblem(
            "not_an_admin",
            "X-Chatd-Owner: only an admin may act for another owner.",
        )
    return Identity(owner_id, identity.admin)


def _decode_owner(value: str) -> str:
    """Return the owner that a header names in UTF-8. Raises ``HttpProblem`` (422)."""
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


# A coroutine, since FastAPI runs plain functions in a thread.
async def resolve_caller(request: Request) -> Identity:
    """Return the identity that the request acts for."""
    return acting_identity(request.scope)


Caller = Annotated[Identity, Depends(resolve_caller)]
