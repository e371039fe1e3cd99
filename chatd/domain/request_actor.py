"""Actors of requests: whose credential a request came with, whomever it acts for."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class RequestActor:
    """The holder of the credential that a request was made with.

    ``owner_id`` is the owner of the token, or the subject of the JWT. ``token_id`` is None without a token
    of ``chatd token create``.
    """

    owner_id: str
    token_id: UUID | None = None
