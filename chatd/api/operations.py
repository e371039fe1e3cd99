"""What operators look at: ``/metrics`` and ``/statusz``.

Both speak of everybody's chats together, so with authentication they are for admins. A scraper sends a
token of one, as Prometheus can. ``metrics.open`` lets everybody read ``/metrics``, for networks where
only a scraper gets that far: no label says whose chats these are. ``/statusz`` names chats, and stays
closed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from chatd.api.auth import Pass
from chatd.api.problems import BadRequest, documented
from chatd.api.scope import LET_IN
from chatd.api.status import ProcessStatusOut

router = APIRouter(tags=["operations"])

METRICS = "/metrics"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Where the routes get what they show.

    Without authentication it is shown to ``anybody``; ``open_metrics`` is the setting.
    """

    metrics: Callable[[], bytes]
    status: Callable[[], ProcessStatusOut]
    anybody: bool = True
    open_metrics: bool = False


async def operations(request: Request) -> Operations:
    found: Operations = request.app.state.operations
    return found


AtOperations = Annotated[Operations, Depends(operations)]


async def operator(request: Request, found: AtOperations) -> Operations:
    """The operations, if the caller may see them. Raises ``BadRequest`` (403)."""
    passed: Pass | None = request.scope.get(LET_IN)
    if not (found.anybody or (passed is not None and passed.identity.admin)):
        raise BadRequest(
            "not_an_admin", "Only an admin may see how the process is doing.", HTTPStatus.FORBIDDEN
        )
    return found


async def scraper(request: Request, found: AtOperations) -> Operations:
    """The operations, if the caller may see the metrics. Raises ``BadRequest`` (403)."""
    return found if found.open_metrics else await operator(request, found)


ForOperator = Annotated[Operations, Depends(operator)]
ForScraper = Annotated[Operations, Depends(scraper)]


@router.get(
    METRICS,
    response_class=Response,
    responses={
        int(HTTPStatus.OK): {
            "description": "Metrics of this process, in the text format of Prometheus.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **documented(),
    },
)
async def metrics(shown: ForScraper) -> Response:
    """What this process has counted, and what the database had a few seconds ago."""
    return Response(shown.metrics(), media_type=MEDIA_TYPE)


@router.get("/statusz", responses=documented())
async def statusz(shown: ForOperator) -> ProcessStatusOut:
    """How this process is: its actors, the chats in hand, streams and connections."""
    return shown.status()
