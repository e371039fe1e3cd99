"""Is it alive, and is it ready."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from chatd.api.desk import AtDesk
from chatd.api.problems import answer, documented

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    status: Literal["alive", "ready"]


@router.get("/livez")
async def livez() -> Health:
    """The process answers."""
    return Health(status="alive")


@router.get("/readyz", response_model=Health, responses=documented("not_ready"))
async def readyz(request: Request, desk: AtDesk) -> Health | JSONResponse:
    """All actors are up, the database answers, and nothing is being stopped."""
    why: Callable[[], str | None] = request.app.state.not_ready
    reason = "stopping" if desk.hub.draining else why()
    if reason is not None:
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", f"Not ready: {reason}.")
    await desk.reads.ping()
    return Health(status="ready")
