"""Idempotency keys: a request with one is executed once, and repeats are answered from the same rows."""

import hashlib
import re
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from chatd.api.request import headers
from chatd.api.scope import IDENTITY
from chatd.store.idempotency import IdempotencyKey

MAX_KEY_LENGTH: int = headers.IDEMPOTENCY_KEY.schema["maxLength"]
_KEY_PATTERN = re.compile(headers.IDEMPOTENCY_KEY.schema["pattern"])


async def idempotency_key(request: Request) -> IdempotencyKey | None:
    """Return the request's key. Raises ``HttpProblem`` (422)."""
    return read_idempotency_key(request.scope, await request.body())


def read_idempotency_key(scope: Scope, body: bytes) -> IdempotencyKey | None:
    """Return a request's key, with a hash over method, path and body. Raises ``HttpProblem`` (422)."""
    key = headers.header_value(scope, headers.IDEMPOTENCY_KEY)
    if key is None:
        return None
    if len(key) > MAX_KEY_LENGTH or not _KEY_PATTERN.fullmatch(key):
        raise headers.invalid_header(
            headers.IDEMPOTENCY_KEY, f"it must be 1 to {MAX_KEY_LENGTH} visible ASCII characters"
        )
    request_hash = hashlib.sha256(f"{scope['method']} {scope['path']}\n".encode())
    request_hash.update(body)
    return IdempotencyKey(scope[IDENTITY].owner_id, key, request_hash.digest())


IdempotencyKeyHeader = Annotated[IdempotencyKey | None, Depends(idempotency_key)]
