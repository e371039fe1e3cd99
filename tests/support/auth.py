"""Callers of daemons that require a token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2

from chatd.domain.access_scope import AccessScope
from chatd.llm.provider import Provider
from chatd.store.database import Database
from chatd.store.tokens import Token, Tokens
from support.eventually import TIMEOUT_SECONDS
from support.in_process import InProcessDaemon, running_daemons

Bearer = dict[str, str]

EVERY_SCOPE = frozenset(AccessScope)


def bearer(token: str) -> Bearer:
    """Return the request header that carries this token."""
    return {"authorization": f"Bearer {token}"}


@dataclass
class AuthenticatedDaemons:
    """Daemons that require tokens, and direct access to the table of tokens."""

    daemons: list[InProcessDaemon]
    tokens: Tokens
    database: Database

    @property
    def chatd(self) -> InProcessDaemon:
        return self.daemons[0]

    async def create_token(self, owner: str, **more: Any) -> tuple[Token, Bearer]:
        """Create a token of an owner. Return it and the request header that carries it."""
        token, secret = await self.tokens.create(owner_id=owner, **more)
        return token, bearer(secret)

    async def new_caller_headers(self, owner: str, **more: Any) -> Bearer:
        """Create a token of an owner. Return the request header that carries it."""
        return (await self.create_token(owner, **more))[1]


@asynccontextmanager
async def authenticated_daemons(
    dsn: str, *providers: Provider, **sections: Any
) -> AsyncIterator[AuthenticatedDaemons]:
    """Run daemons with token authentication, one for each provider."""
    database = Database(dsn, pool_size=3)
    await database.open()
    try:
        async with running_daemons(dsn, providers, auth={"mode": "token"}, **sections) as daemons:
            yield AuthenticatedDaemons(daemons, Tokens(database), database)
    finally:
        await database.close()


async def create_chat_as(chatd: InProcessDaemon, headers: Bearer, **body: Any) -> dict[str, Any]:
    """Create a chat of this caller. Return its id."""
    answer = await chatd.api.http.post("/api/v1/chats", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def get_as(
    chatd: InProcessDaemon, path: str, headers: Bearer, **more: Any
) -> httpx2.Response:
    return await chatd.api.http.get(path, headers=headers, **more)


async def last_accepted_at(http: httpx2.AsyncClient, path: str, headers: Bearer) -> float:
    """Request until one is refused. Return when the last accepted request began.

    A busy machine makes requests slow, but it accepts none that begins later.
    """
    began = float("-inf")
    with anyio.fail_after(TIMEOUT_SECONDS):
        while True:
            now = anyio.current_time()
            answer = await http.get(path, headers=headers)
            if answer.status_code == 401:
                return began
            assert answer.status_code == 200, answer.text
            began = now
