"""``Idempotency-IdempotencyKey``: a request that is said again is done once, and answered every time."""

import hashlib
import re
from typing import Annotated

from fastapi import Depends, Request

from chatd.api import headers
from chatd.api.auth import acting
from chatd.store.keys import IdempotencyKey

LONGEST_KEY: int = headers.KEY.schema["maxLength"]
_FIT = re.compile(headers.KEY.schema["pattern"])


async def keyed(request: Request) -> IdempotencyKey | None:
    """The key of a request; everything that was asked goes into its fingerprint, byte by byte."""
    key = headers.given(request.scope, headers.KEY)
    if key is None:
        return None
    if len(key) > LONGEST_KEY or not _FIT.fullmatch(key):
        raise headers.unfit(headers.KEY, f"it must be 1 to {LONGEST_KEY} visible ASCII characters")
    asked = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    asked.update(await request.body())
    return IdempotencyKey(acting(request.scope).owner_id, key, asked.digest())


Keyed = Annotated[IdempotencyKey | None, Depends(keyed)]
