"""Route by which people and clients answer what a chat asks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter

from chatd.api.context import ApiContext, Context
from chatd.api.errors.problems import FieldProblem, invalid_request, problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.api.schema.actions import AnswerActions
from chatd.api.schema.resources import Chat
from chatd.domain.answer import Answer, Approval, Decision, Input
from chatd.tools.arguments import BadArguments, argument_check

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
    await check_contents(chat_id, answers, caller.owner_id, context)
    result = await context.store.tool_calls.answer(
        chat_id, owner_id=caller.owner_id, actor=caller.actor, answers=answers, key=key
    )
    return await context.present_answered(result)


async def check_contents(
    chat_id: UUID, answers: Sequence[Answer], owner_id: str, context: ApiContext
) -> None:
    """Check what people send to tools: arguments that they changed, and forms that they filled in.

    Arguments are checked if this process knows the tool. Its run checks them again.
    """
    given = {
        answer.tool_call_id: (number, answer)
        for number, answer in enumerate(answers)
        if _has_content(answer)
    }
    if not given:
        return
    problems = []
    for call, is_of_tool in await context.store.tool_calls.asked(chat_id, owner_id=owner_id):
        if call["tool_call_id"] in given:
            number, answer = given[call["tool_call_id"]]
            field, complaint = _complaint(call, answer, context, is_of_tool=is_of_tool)
            if complaint:
                where = f"body.answers.{number}.{field}"
                problems.append(FieldProblem(where=where, message=complaint))
    if problems:
        raise invalid_request(*problems)


def _has_content(answer: Answer) -> bool:
    match answer:
        case Approval(args=args):
            return args is not None
        case Input(decision=decision):
            return decision is Decision.ACCEPT
    return False


def _complaint(
    call: Mapping[str, Any], answer: Answer, context: ApiContext, *, is_of_tool: bool
) -> tuple[str, str | None]:
    """Return what is wrong with an answer to a question that is asked, and in which field."""
    match answer:
        case Approval(args=args):
            return "args", context.config().tools.complaint(call["tool_name"], json.dumps(args))
        case Input(content=content, question_number=number) if (
            is_of_tool and call["question_number"] == number
        ):
            try:
                argument_check(call["schema"])(content)
            except BadArguments as error:
                return "content", str(error)
    return "", None
