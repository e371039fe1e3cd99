"""Cached access tokens: responses of the database that arrive in another order than it read."""

from collections.abc import Collection, Sequence
from typing import Any, cast
from uuid import uuid4

import anyio
import pytest
from support.virtual_clock import on_virtual_time

from chatd.api.auth.tokens import TokenAuthenticator
from chatd.api.errors.problems import HttpProblem
from chatd.domain.access_scope import OWN_CHATS
from chatd.store.tokens import ValidToken, hash_token

TOKEN = "chatd_x"


class SlowTokens:
    """Store of one valid token, until it is revoked. A response waits for ``response`` if that is set."""

    def __init__(self) -> None:
        self.revoked = False
        self.response: anyio.Event | None = None

    async def validate(
        self, token_hashes: Collection[bytes], *, used_hashes: Collection[bytes]
    ) -> Sequence[ValidToken]:
        assert hash_token(TOKEN) in token_hashes
        valid = ValidToken(
            id=uuid4(),
            token_hash=hash_token(TOKEN),
            owner_id="ann",
            scopes=OWN_CHATS,
            expires_in_seconds=None,
        )
        found = [] if self.revoked else [valid]
        if self.response is not None:
            await self.response.wait()
        return found


@on_virtual_time
async def test_revoked_token_stays_rejected_after_an_older_response() -> None:
    tokens = SlowTokens()
    authenticator = TokenAuthenticator(cast("Any", tokens))
    assert (await authenticator.authenticate(TOKEN)).identity.owner_id == "ann"
    await anyio.sleep(1)  # the validation is too old

    async def rejected() -> None:
        with pytest.raises(HttpProblem, match="revoked"):
            await authenticator.authenticate(TOKEN)

    async with anyio.create_task_group() as group:
        older = tokens.response = anyio.Event()
        group.start_soon(rejected)
        await anyio.wait_all_tasks_blocked()
        tokens.revoked, tokens.response = True, None
        await authenticator.step()
        older.set()
    await rejected()
