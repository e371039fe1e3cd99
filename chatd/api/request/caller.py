"""The caller of an operation, after the check of its scopes."""

from typing import Annotated

from fastapi import Depends, Request

from chatd.api.auth.permissions import Access, authorize
from chatd.api.scope import IDENTITY


# A coroutine, since FastAPI runs plain functions in a thread.
async def resolve_caller(request: Request) -> Access:
    """Return what the caller may do with this operation. Raises ``HttpProblem`` (403)."""
    return authorize(request.scope[IDENTITY], request.scope["route"].name)


Caller = Annotated[Access, Depends(resolve_caller)]
