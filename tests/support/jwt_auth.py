"""Authentication by JWTs in tests."""

from typing import Any

from support.auth import bearer, get_as
from support.identity_provider import (
    AUDIENCE,
    ISSUER,
)
from support.in_process import InProcessDaemon

CHATS = "/api/v1/chats"


def jwt_auth(jwks: str, **more: Any) -> dict[str, Any]:
    return {"mode": "jwt", "jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, **more}


async def status_of(chatd: InProcessDaemon, token: str) -> int:
    return (await get_as(chatd, CHATS, bearer(token))).status_code
