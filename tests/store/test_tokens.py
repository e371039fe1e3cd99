"""Stored tokens: only their hashes are stored, and a revoked one stays revoked."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS
from support.query_plans import BOTH, indexes, plan, scanned

from chatd.domain.access_scope import OWN_CHATS, AccessScope
from chatd.domain.errors import TokenNotFound
from chatd.store.database import Database
from chatd.store.tokens import Tokens, hash_token


async def test_token_is_stored_as_its_hash(database: Database) -> None:
    tokens = Tokens(database)
    created = [await tokens.create(owner_id="ann", name="laptop") for _ in range(3)]
    secrets = [secret for _, secret in created]
    assert len(set(secrets)) == 3
    for secret in secrets:
        assert secret.startswith("chatd_")
        assert len(secret) >= len("chatd_") + 43
    for row in await database.fetch("SELECT t::text, hash FROM api_tokens t"):
        assert not any(secret in row["t"] for secret in secrets)
        assert len(row["hash"]) == 32
    found = await tokens.validate([hash_token(secret) for secret in secrets])
    assert [(valid.owner_id, valid.scopes, valid.expires_in_seconds) for valid in found] == [
        ("ann", OWN_CHATS, None)
    ] * 3


async def test_expiry_is_a_duration_or_a_time(database: Database) -> None:
    tokens = Tokens(database)
    moment = datetime.now(UTC) + timedelta(hours=1)
    until, secret = await tokens.create(owner_id="ann", expires=moment)
    lasting, other = await tokens.create(owner_id="ann", expires=timedelta(hours=1))
    assert until.expires_at == moment
    assert lasting.expires_at is not None
    assert lasting.expires_at - lasting.created_at < timedelta(hours=1, seconds=1)
    for valid in await tokens.validate([hash_token(secret), hash_token(other)]):
        assert valid.expires_in_seconds is not None
        assert 3590 < valid.expires_in_seconds <= 3600
    _, expired = await tokens.create(
        owner_id="ann", expires=datetime.now(UTC) - timedelta(seconds=1)
    )
    assert await tokens.validate([hash_token(expired)]) == []
    assert [token.state for token in await tokens.list()] == ["active", "active", "expired"]


async def test_revoke_is_final_and_safe_to_repeat(database: Database) -> None:
    tokens = Tokens(database)
    token, secret = await tokens.create(owner_id="ann")
    _, other = await tokens.create(owner_id="bob", scopes=[AccessScope.METRICS])
    first = await tokens.revoke(token.id)
    assert (await tokens.revoke(token.id)).revoked_at == first.revoked_at is not None
    (remaining,) = await tokens.validate([hash_token(secret), hash_token(other)])
    assert (remaining.owner_id, remaining.scopes) == ("bob", {AccessScope.METRICS})
    assert [token.state for token in await tokens.list(owner_id="ann")] == ["revoked"]
    with pytest.raises(TokenNotFound):
        await tokens.revoke(uuid4())


async def test_use_is_recorded_at_intervals_without_waiting(database: Database) -> None:
    tokens = Tokens(database)
    _, secret = await tokens.create(owner_id="ann")
    key = hash_token(secret)
    await tokens.validate([key])
    assert (await tokens.list())[0].last_used_at is None
    await tokens.validate([key], used_hashes=[key])
    used = (await tokens.list())[0].last_used_at
    assert used is not None
    await tokens.validate([key], used_hashes=[key])
    assert (await tokens.list())[0].last_used_at == used
    aged = "UPDATE api_tokens SET last_used_at = last_used_at - interval '11 seconds'"
    async with database.dedicated_connection() as connection, connection.transaction():
        await connection.execute(aged)
        with anyio.fail_after(TIMEOUT_SECONDS):
            assert len(await tokens.validate([key], used_hashes=[key])) == 1, (
                "another transaction writes the row"
            )
    await tokens.validate([key], used_hashes=[key])
    used_again = (await tokens.list())[0].last_used_at
    assert used_again is not None
    assert used_again > used


@BOTH
async def test_validate_reads_only_the_tokens_in_question(
    database: Database, generic: bool
) -> None:
    async with database.dedicated_connection() as connection:
        await connection.execute(
            "INSERT INTO api_tokens (owner_id, hash)"
            " SELECT 'o', sha256(n::text::bytea) FROM generate_series(1, 20000) n; ANALYZE api_tokens"
        )
        keys = [hash_token(str(n)) for n in range(10)]
        found = await plan(
            connection, "tokens", "validate", hashes=keys, used_hashes=keys, generic=generic
        )
        assert "api_tokens_hash_key" in indexes(found)
        assert scanned(found) == set()
