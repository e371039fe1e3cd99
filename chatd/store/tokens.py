"""Access tokens: created and revoked by an operator, validated by the API."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from chatd.domain.access_scope import OWN_CHATS, AccessScope, known_scopes
from chatd.domain.errors import TokenNotFound
from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("tokens")

TOKEN_PREFIX = "chatd_"  # noqa: S105 - a prefix, not a secret
"""Prefix of every token, by which people and secret scanners recognise one."""

_RANDOM_BYTES = 32


def hash_token(token: str) -> bytes:
    """Return the hash that is stored of a token. Tokens are too random to need a salt or a slow hash."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret, which is not stored."""

    id: UUID
    owner_id: str
    name: str
    scopes: frozenset[AccessScope]
    state: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ValidToken:
    """A token that is valid for another ``expires_in_seconds`` (None: for ever)."""

    id: UUID
    token_hash: bytes
    owner_id: str
    scopes: frozenset[AccessScope]
    expires_in_seconds: float | None


class Tokens:
    """Store for the table of tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        *,
        owner_id: str,
        scopes: Collection[AccessScope] = OWN_CHATS,
        name: str = "",
        expires: timedelta | datetime | None = None,
    ) -> tuple[Token, str]:
        """Create a token. Return it with its secret, which cannot be read again."""
        secret = TOKEN_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        lifetime = expires.total_seconds() if isinstance(expires, timedelta) else None
        expires_at = expires if isinstance(expires, datetime) else None
        row = await self._database.fetchrow(
            _Q["create"],
            owner_id=owner_id,
            hash=hash_token(secret),
            scopes=sorted(scopes),
            name=name,
            lifetime_seconds=lifetime,
            expires_at=expires_at,
        )
        assert row is not None  # noqa: S101 - an INSERT of one row returns one row
        return _token(row), secret

    async def list(self, *, owner_id: str | None = None) -> Sequence[Token]:
        """Return all tokens, or those of one owner, oldest first."""
        rows = await self._database.fetch(_Q["list"], owner_id=owner_id)
        return [_token(row) for row in rows]

    async def revoke(self, token_id: UUID) -> Token:
        """Revoke a token for good. Raise ``TokenNotFound`` if there is none."""
        row = await self._database.fetchrow(_Q["revoke"], token_id=token_id)
        if row is None:
            raise TokenNotFound(token_id)
        return _token(row)

    async def validate(
        self, token_hashes: Collection[bytes], *, used_hashes: Collection[bytes] = ()
    ) -> Sequence[ValidToken]:
        """Return the valid tokens among these, and record that those in ``used_hashes`` were used."""
        rows = await self._database.fetch(
            _Q["validate"], hashes=list(token_hashes), used_hashes=list(used_hashes)
        )
        return [
            ValidToken(
                id=row["id"],
                token_hash=row["hash"],
                owner_id=row["owner_id"],
                scopes=known_scopes(row["scopes"]),
                expires_in_seconds=row["expires_in"],
            )
            for row in rows
        ]


def _token(row: asyncpg.Record) -> Token:
    return Token(
        id=row["id"],
        owner_id=row["owner_id"],
        name=row["name"],
        scopes=known_scopes(row["scopes"]),
        state=row["state"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )
