"""Is it alive, and is it ready."""

from collections.abc import Callable
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from chatd.api.desk import AtDesk
from chatd.api.problems import answer, documented

router = APIRouter(tags=["operations"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz", response_model=dict[str, str], responses=documented())
async def readyz(request: Request, desk: AtDesk) -> dict[str, str] | JSONResponse:
    """All actors are up, the database answers, and nothing is being stopped."""
    why: Callable[[], str | None] = request.app.state.not_ready
    reason = "stopping" if desk.hub.draining else why()
    if reason is not None:
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", f"Not ready: {reason}.")
    await desk.reads.ping()
    return {"status": "ready"}
