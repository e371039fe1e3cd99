"""The header by which a request acts for another owner.

Acting for an owner means being that owner: the request sees their chats and no others, counts against
their limits, and has no other scope of the credential that it came with.
"""

from collections.abc import Sequence
from typing import Final

from starlette.types import Scope

from chatd.api.auth.identity import Identity, insufficient_scope
from chatd.api.errors.problems import FieldProblem, HttpProblem, invalid_request
from chatd.api.scope import header_values
from chatd.domain.access_scope import AccessScope
from chatd.domain.owner import MAX_OWNER_LENGTH, is_valid_owner

OWNER_HEADER: Final = "x-chatd-owner"


def acting_identity(scope: Scope, identity: Identity) -> Identity:
    """Return the identity that the request acts with: its credential's, or as the owner that it names.

    Raises ``HttpProblem`` (403, 422).
    """
    values = header_values(scope, OWNER_HEADER.encode())
    if not values:
        return identity
    owner_id = _decode_owner(values)
    if owner_id != identity.owner_id and AccessScope.ACT_FOR not in identity.scopes:
        raise insufficient_scope(
            "X-Chatd-Owner: acting for another owner takes a token with the scope act-for.",
            AccessScope.ACT_FOR,
        )
    return identity.acting_as(owner_id)


def _decode_owner(values: Sequence[bytes]) -> str:
    """Return the owner that the header names in UTF-8. Raises ``HttpProblem`` (422)."""
    if len(values) > 1:
        raise _invalid("it is there more than once")
    try:
        owner_id = values[0].decode()
    except UnicodeError:
        owner_id = ""
    if not is_valid_owner(owner_id):
        raise _invalid(f"it is not an owner's name in UTF-8, of 1 to {MAX_OWNER_LENGTH} characters")
    return owner_id


def _invalid(reason: str) -> HttpProblem:
    return invalid_request(FieldProblem(where=f"header.{OWNER_HEADER}", message=reason))
