"""``Idempotency-Key``: a request that is said again is done once, and answered every time."""

import hashlib
from typing import Annotated

from fastapi import Depends, Header, Request

from chatd.api.auth import Caller
from chatd.store.keys import Key

LONGEST_KEY = 255


async def keyed(
    request: Request,
    caller: Caller,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=LONGEST_KEY,
            pattern=r"^[\x21-\x7e]+$",
            description="A name of your own for this request, such as a UUID. Said again with the "
            "same body, it changes nothing and gets the same answer.",
        ),
    ] = None,
) -> Key | None:
    """The key of a request; everything that was asked goes into its fingerprint, byte by byte."""
    if idempotency_key is None:
        return None
    asked = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    asked.update(await request.body())
    return Key(caller.owner_id, idempotency_key, asked.digest())


Keyed = Annotated[Key | None, Depends(keyed)]
