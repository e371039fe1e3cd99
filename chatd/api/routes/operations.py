"""Routes for operators: ``/metrics`` and ``/statusz``.

Both cover the chats of all owners, so each takes a scope of its own. A scraper sends a token with the
scope ``metrics``, as Prometheus can. ``metrics.public`` opens ``/metrics`` to everybody, for networks in
which only a scraper can reach it: no label names an owner. ``/statusz`` names chats, and always takes
``operate``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller, resolve_caller
from chatd.api.schema.process_status import ProcessStatus
from chatd.telemetry.history import History

router = APIRouter(tags=["operations"])

METRICS_PATH = "/metrics"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Sources of the responses. ``public_metrics`` is the setting ``metrics.public``."""

    metrics: Callable[[], bytes]
    status: Callable[[], ProcessStatus]
    history: Callable[[], History]
    pending_states: Callable[[], Mapping[str, int] | None]
    worker_id: UUID
    host: str
    public_metrics: bool = False


async def get_operations(request: Request) -> Operations:
    """Return the operations of the application."""
    operations: Operations = request.app.state.operations
    return operations


OperationsDependency = Annotated[Operations, Depends(get_operations)]


async def require_metrics_access(request: Request, operations: OperationsDependency) -> Operations:
    """Return the operations if the caller may read the metrics. Raises ``HttpProblem`` (403)."""
    if not operations.public_metrics:
        await resolve_caller(request)
    return operations


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
async def statusz(_caller: Caller, operations: OperationsDependency) -> ProcessStatus:
    """Return the status of this process: actors, leased chats, streams and connections."""
    return operations.status()
