"""What operators look at: ``/metrics`` and ``/statusz``.

Both speak of everybody's chats together, so with authentication they are for admins. A scraper sends a
token of one, as Prometheus can. ``metrics.public`` lets everybody read ``/metrics``, for networks where
only a scraper gets that far: no label says whose chats these are. ``/statusz`` names chats, and stays
closed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from chatd.api.auth.identity import Grant
from chatd.api.errors.problems import HttpProblem, problem_responses
from chatd.api.schema.process_status import ProcessStatusOut
from chatd.api.scope import GRANT

router = APIRouter(tags=["operations"])

METRICS_PATH = "/metrics"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Where the routes get what they show.

    Without authentication it is shown to ``public``; ``public_metrics`` is the setting.
    """

    metrics: Callable[[], bytes]
    status: Callable[[], ProcessStatusOut]
    public: bool = True
    public_metrics: bool = False


async def get_operations(request: Request) -> Operations:
    found: Operations = request.app.state.operations
    return found


OperationsDependency = Annotated[Operations, Depends(get_operations)]


async def require_operator(request: Request, operations: OperationsDependency) -> Operations:
    """The operations, if the caller may see them. Raises ``HttpProblem`` (403)."""
    passed: Grant | None = request.scope.get(GRANT)
    if not (operations.public or (passed is not None and passed.identity.admin)):
        raise HttpProblem(
            "not_an_admin", "Only an admin may see how the process is doing.", HTTPStatus.FORBIDDEN
        )
    return operations


async def require_metrics_access(request: Request, operations: OperationsDependency) -> Operations:
    """The operations, if the caller may see the metrics. Raises ``HttpProblem`` (403)."""
    return operations if operations.public_metrics else await require_operator(request, operations)


OperatorAccess = Annotated[Operations, Depends(require_operator)]
MetricsAccess = Annotated[Operations, Depends(require_metrics_access)]


@router.get(
    METRICS_PATH,
    response_class=Response,
    responses={
        int(HTTPStatus.OK): {
            "description": "Metrics of this process, in the text format of Prometheus.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problem_responses(),
    },
)
async def metrics(operations: MetricsAccess) -> Response:
    """Return the metrics of this process. They include recent counts over the whole database."""
    return Response(operations.metrics(), media_type=MEDIA_TYPE)


@router.get("/statusz", summary="Get process status", responses=problem_responses())
async def statusz(operations: OperatorAccess) -> ProcessStatusOut:
    """Return the status of this process: actors, leased chats, streams and connections."""
    return operations.status()
