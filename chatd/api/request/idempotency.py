"""``Idempotency-IdempotencyKey``: a request that is said again is done once, and answered every time."""

import hashlib
import re
from typing import Annotated

from fastapi import Depends, Request

from chatd.api.auth.identity import acting_identity
from chatd.api.request import headers
from chatd.store.idempotency import IdempotencyKey

MAX_KEY_LENGTH: int = headers.IDEMPOTENCY_KEY.schema["maxLength"]
_KEY_PATTERN = re.compile(headers.IDEMPOTENCY_KEY.schema["pattern"])


async def idempotency_key(request: Request) -> IdempotencyKey | None:
    """The key of a request; everything that was asked goes into its fingerprint, byte by byte."""
    key = headers.header_value(request.scope, headers.IDEMPOTENCY_KEY)
    if key is None:
        return None
    if len(key) > MAX_KEY_LENGTH or not _KEY_PATTERN.fullmatch(key):
        raise headers.invalid_header(
            headers.IDEMPOTENCY_KEY, f"it must be 1 to {MAX_KEY_LENGTH} visible ASCII characters"
        )
    asked = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    asked.update(await request.body())
    return IdempotencyKey(acting_identity(request.scope).owner_id, key, asked.digest())


IdempotencyKeyHeader = Annotated[IdempotencyKey | None, Depends(idempotency_key)]
