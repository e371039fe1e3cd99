"""Route by which people and clients answer what a chat asks."""

import json
from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter

from chatd.api.context import ApiContext, Context
from chatd.api.errors.problems import FieldProblem, invalid_request, problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.api.schema.actions import AnswerActions
from chatd.api.schema.resources import Chat
from chatd.domain.answer import Answer, Approval

router = APIRouter(prefix="/api/v1", tags=["chats"])


@router.post(
    "/chats/{chat_id}/actions",
    responses=problem_responses(
        "already_answered",
        "answer_mismatch",
        "chat_not_found",
        "chat_full",
        "no_action_required",
        "storage_full",
        "tool_call_unknown",
    ),
)
async def answer_actions(
    chat_id: UUID,
    body: AnswerActions,
    caller: Caller,
    context: Context,
    key: IdempotencyKeyHeader,
) -> Chat:
    """Answer calls that the chat waits for, some or all. It continues when it waits for none any more.

    The same answer again changes nothing. Another one for the same call is refused, with the decision that
    stands in `decisions`.
    """
    answers = [answer.to_domain() for answer in body.answers]
    await _check_arguments(chat_id, answers, caller.owner_id, context)
    result = await context.store.tool_calls.answer(
        chat_id, owner_id=caller.owner_id, actor=caller.actor, answers=answers, key=key
    )
    return await context.present_answered(result)


async def _check_arguments(
    chat_id: UUID, answers: Sequence[Answer], owner_id: str, context: ApiContext
) -> None:
    """Check arguments that people changed, if this process knows the tool. Its run checks them again."""
    changed = {
        answer.tool_call_id: (number, answer.args)
        for number, answer in enumerate(answers)
        if isinstance(answer, Approval) and answer.args is not None
    }
    if not changed:
        return
    problems = []
    for call in await context.store.tool_calls.actions(chat_id, owner_id=owner_id):
        if call["tool_call_id"] in changed:
            number, args = changed[call["tool_call_id"]]
            if complaint := context.config().tools.complaint(call["tool_name"], json.dumps(args)):
                problems.append(
                    FieldProblem(where=f"body.answers.{number}.args", message=complaint)
                )
    if problems:
        raise invalid_request(*problems)
