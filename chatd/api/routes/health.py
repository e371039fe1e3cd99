"""Routes of liveness and readiness."""

from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from chatd.api.context import Context
from chatd.api.errors.problems import problem_response, problem_responses
from chatd.api.schema.process_status import Health
from chatd.domain.errors import DatabaseUnavailable

router = APIRouter(tags=["operations"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Check liveness")
async def livez() -> Health:
    """Report that the process answers requests."""
    return Health(status="alive")


@router.head("/readyz", response_model=Health, include_in_schema=False)
@router.get(
    "/readyz",
    summary="Check readiness",
    response_model=Health,
    responses=problem_responses("not_ready"),
)
async def readyz(request: Request, context: Context) -> Health | JSONResponse:
    """Report whether all actors are up, the database answers, and the process is not stopping.

    The process asks the database by itself, every two seconds, so this never waits for it.
    """
    not_ready: Callable[[], str | None] = request.app.state.not_ready
    database_reachable: Callable[[], bool] = request.app.state.database_reachable
    reason = "stopping" if context.hub.draining else not_ready()
    if reason is not None:
        return problem_response("not_ready", f"Not ready: {reason}.")
    if not database_reachable():
        raise DatabaseUnavailable
    return Health(status="ready")
