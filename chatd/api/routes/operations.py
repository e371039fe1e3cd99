"""Routes for operators: ``/metrics`` and ``/statusz``.

Both cover the chats of all owners, so with authentication they are for admins. A scraper sends the token
of one, as Prometheus can. ``metrics.public`` opens ``/metrics`` to everybody, for networks in which only
a scraper can reach it: no label names an owner. ``/statusz`` names chats, and is always for admins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from chatd.api.auth.identity import Grant
from chatd.api.errors.problems import HttpProblem, problem_responses
from chatd.api.schema.process_status import ProcessStatus
from chatd.api.scope import GRANT

router = APIRouter(tags=["operations"])

METRICS_PATH = "/metrics"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Sources of the responses, and who may read them.

    ``public`` opens both routes to everybody, which is so without authentication. ``public_metrics`` is
    the setting ``metrics.public``.
    """

    metrics: Callable[[], bytes]
    status: Callable[[], ProcessStatus]
    public: bool = True
    public_metrics: bool = False


async def get_operations(request: Request) -> Operations:
    """Return the operations of the application."""
    operations: Operations = request.app.state.operations
    return operations


OperationsDependency = Annotated[Operations, Depends(get_operations)]


async def require_operator(request: Request, operations: OperationsDependency) -> Operations:
    """Return the operations if the caller may read them. Raises ``HttpProblem`` (403)."""
    grant: Grant | None = request.scope.get(GRANT)
    if not (operations.public or (grant is not None and grant.identity.admin)):
        raise HttpProblem("not_an_admin", "Only an admin may read process status.")
    return operations


async def require_metrics_access(request: Request, operations: OperationsDependency) -> Operations:
    """Return the operations if the caller may read the metrics. Raises ``HttpProblem`` (403)."""
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
async def statusz(operations: OperatorAccess) -> ProcessStatus:
    """Return the status of this process: actors, leased chats, streams and connections."""
    return operations.status()
