"""Who is calling. Without authentication, which is for loopback only, everybody is ``local``."""

from typing import Annotated

from fastapi import Depends

LOCAL = "local"


async def caller() -> str:
    """The owner of the chats that this request may see."""
    return LOCAL


Caller = Annotated[str, Depends(caller)]
