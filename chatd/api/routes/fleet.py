"""Routes for operators who look after all workers and all chats."""

from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator

from chatd.api.context import ApiContext, Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.api.request.pagination import Limit
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.routes.operations import OperationsDependency
from chatd.api.schema import fleet
from chatd.domain import fleet as domain
from chatd.domain.chat import Status
from chatd.domain.owner import MAX_OWNER_LENGTH, is_valid_owner
from chatd.store.fleet import SAMPLE
from chatd.telemetry.history import SAMPLE_SECONDS, ModelCalls

router = APIRouter(prefix="/api/v1/fleet", tags=["operations"])

ActiveStatus = Literal[
    Status.PENDING,
    Status.RUNNING,
    Status.INTERRUPTING,
    Status.REQUIRES_ACTION,
    Status.PARKED,
    Status.ERROR,
]


def _check_owner(name: str) -> str:
    if not is_valid_owner(name):
        raise ValueError("it is not an owner's name")
    return name


@router.get("", responses=problem_responses())
async def get_fleet(_: Caller, context: Context, operations: OperationsDependency) -> fleet.Fleet:
    """Return the workers, and the active chats of all owners."""
    overview = await context.store.fleet.overview(lease_seconds=context.lease_seconds)
    pending = operations.pending_states()
    return fleet.Fleet(
        at=overview.at,
        worker_id=operations.worker_id,
        workers=[
            fleet.FleetWorker.model_validate(worker, from_attributes=True)
            for worker in overview.workers
        ],
        statuses=[
            fleet.StatusAges(
                status=each.status,
                count=each.count,
                complete=each.count < SAMPLE,
                oldest_seconds=each.oldest_seconds,
                ages=[*each.ages],
            )
            for each in overview.statuses
        ],
        pending=None if pending is None else fleet.PendingStates.model_validate(pending),
        owners=[
            fleet.OwnerLoad.model_validate(each, from_attributes=True) for each in overview.owners
        ],
        stages=[
            fleet.StageLoad.model_validate(each, from_attributes=True) for each in overview.stages
        ],
    )


@router.get("/history", responses=problem_responses())
async def get_metrics_history(
    _: Caller, context: Context, operations: OperationsDependency
) -> fleet.MetricsHistory:
    """Return the last hour of the metrics of the process that answers."""
    history = operations.history()
    providers = {model.name: model.provider for model in context.catalog.models}
    return fleet.MetricsHistory(
        worker_id=operations.worker_id,
        host=operations.host,
        interval_seconds=SAMPLE_SECONDS,
        times=[*history.times],
        series=[
            fleet.HistorySeries.model_validate(each, from_attributes=True)
            for each in history.series
        ],
        models=[_model_calls(each, providers.get(each.model)) for each in history.models],
    )


def _model_calls(calls: ModelCalls, provider: str | None) -> fleet.ModelCalls:
    return fleet.ModelCalls(
        model=calls.model,
        provider=provider,
        calls=calls.calls,
        errors=calls.errors,
        error_rate=calls.errors / calls.calls if calls.calls else 0.0,
        errors_by_kind=dict(calls.errors_by_kind),
        first_part_seconds=calls.first_part_seconds,
    )


@router.get("/chats", dependencies=[RejectUnknownParameters], responses=problem_responses())
async def list_fleet_chats(
    _: Caller,
    context: Context,
    status: Annotated[
        list[ActiveStatus] | None,
        Query(description="Repeatable: any of them.", max_length=len(domain.ACTIVE)),
    ] = None,
    owner_id: Annotated[
        Annotated[str, AfterValidator(_check_owner)] | None,
        Query(max_length=MAX_OWNER_LENGTH, description="Only chats of this owner."),
    ] = None,
    limit: Limit = 50,
) -> fleet.FleetChats:
    """List active chats of all owners, the longest in their status first.

    At most 2,000 chats of each status are looked at.
    """
    chats = await context.store.fleet.active_chats(
        statuses=status or domain.ACTIVE, owner_id=owner_id, limit=limit
    )
    return fleet.FleetChats(
        items=[fleet.FleetChat.model_validate(chat, from_attributes=True) for chat in chats]
    )


@router.post(
    "/chats/{chat_id}/interrupt",
    responses=problem_responses("chat_not_found", "status_unknown"),
)
async def interrupt_any_chat(
    chat_id: UUID, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> fleet.FleetChat:
    """Interrupt a chat of any owner. Its journal says who did it."""
    owner_id = await _owner_of(chat_id, context)
    await context.store.chats.interrupt(chat_id, owner_id=owner_id, actor=caller.actor, key=key)
    return await _chat(chat_id, context)


@router.post(
    "/chats/{chat_id}/retry",
    responses=problem_responses(
        "chat_not_found", "chat_archived", "nothing_to_retry", "too_many_active_chats"
    ),
)
async def retry_any_chat(
    chat_id: UUID, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> fleet.FleetChat:
    """Retry the failed turn of a chat of any owner. Its journal says who did it."""
    owner_id = await _owner_of(chat_id, context)
    await context.store.chats.retry(chat_id, owner_id=owner_id, actor=caller.actor, key=key)
    return await _chat(chat_id, context)


@router.post(
    "/chats/{chat_id}/archive",
    responses=problem_responses("chat_not_found", "chat_tree_busy"),
)
async def archive_any_chat(
    chat_id: UUID, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> fleet.FleetChat:
    """Archive an idle chat of any owner, with its descendants. Its journal says who did it."""
    owner_id = await _owner_of(chat_id, context)
    await context.store.chats.archive(
        chat_id, owner_id=owner_id, actor=caller.actor, archived=True, key=key
    )
    return await _chat(chat_id, context)


async def _owner_of(chat_id: UUID, context: ApiContext) -> str:
    return (await context.store.reads.chat(chat_id, owner_id=None)).owner_id


async def _chat(chat_id: UUID, context: ApiContext) -> fleet.FleetChat:
    return fleet.FleetChat.model_validate(
        await context.store.fleet.any_chat(chat_id), from_attributes=True
    )


@router.put(
    "/workers/{worker_id}/drain",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=problem_responses("worker_not_found"),
)
async def drain_worker(worker_id: UUID, _: Caller, context: Context) -> None:
    """Ask a worker to claim no more chats. Its turns go on. It reads this with its next heartbeat."""
    await _set_draining(context, worker_id, draining=True)


@router.delete(
    "/workers/{worker_id}/drain",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=problem_responses("worker_not_found"),
)
async def resume_worker(worker_id: UUID, _: Caller, context: Context) -> None:
    """Have a worker that drains claim chats again."""
    await _set_draining(context, worker_id, draining=False)


async def _set_draining(context: ApiContext, worker_id: UUID, *, draining: bool) -> None:
    await context.store.fleet.set_draining(worker_id, draining=draining)
