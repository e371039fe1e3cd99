"""The route of Chat Completions.

A request is a chat of its own that expires, or continues one that it names. Leaving is stopping: there is
no other way to stop in this dialect.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from chatd.adapters.completions.chat_choice import (
    CHAT,
    DETACHED,
    IGNORED,
    METADATA_CHAT,
    ChatChoice,
    choose_chat,
)
from chatd.adapters.completions.chunks import ChunkWriter
from chatd.adapters.completions.comparison import fingerprint
from chatd.adapters.completions.completion import CompletionHead
from chatd.adapters.completions.messages import read_conversation
from chatd.adapters.completions.plan import Plan, Planner
from chatd.adapters.completions.request import CompletionRequest, find_unsupported
from chatd.adapters.completions.streaming import respond
from chatd.adapters.completions.tools import read_tools
from chatd.adapters.completions.whole import whole_completion
from chatd.adapters.config import AdapterConfig, Config
from chatd.adapters.held_steps import holds_steps
from chatd.adapters.openai_errors import NOT_SUPPORTED, TurnError
from chatd.adapters.operations import ChatOperations, NewChat, Operations
from chatd.adapters.turn_stream import TurnStream, open_turn_stream
from chatd.api.errors.problems import FieldProblem, invalid_request
from chatd.domain.errors import ChatExists, NoActionRequired, NothingToRetry, ToolCallUnknown

router = APIRouter(prefix="/v1", include_in_schema=False)

_MAX_PLANS: Final = 4
"""Plans of one request. Of the same requests at the same moment, each finds what the first one did."""
_DONE_MEANWHILE: Final = (ChatExists, NoActionRequired, NothingToRetry, ToolCallUnknown)
_MAX_LABEL_NAME_LENGTH, _MAX_LABEL_LENGTH = 200, 1000
"""Characters of a label of the native API."""


@router.post("/chat/completions")
async def create_completion(
    body: CompletionRequest, request: Request, operations: Operations, config: Config
) -> Response:
    """Answer a list of messages, as a stream or whole."""
    if (field := find_unsupported(body)) is not None:
        raise invalid_request(FieldProblem(where=f"body.{field}", message=NOT_SUPPORTED))
    choice = choose_chat(request.scope, body.metadata)
    planner = _planner(body, choice, operations, config)
    plan, stream = await _open(planner, request)
    head = CompletionHead(
        id=f"chatcmpl-{plan.chat_id.hex}{planner.key[:12]}",
        created=int(time.time()),
        model=body.model or operations.context.catalog.default.name,
        client_tools=frozenset(tool.name for tool in planner.new_chat.tools),
    )
    headers = _headers(body, plan)
    if body.stream:
        writer = ChunkWriter(
            head, includes_usage=body.includes_usage, holds_steps=holds_steps(request.scope)
        )
        return await respond(request, stream, writer, headers)
    completion = whole_completion(await stream.collect(request), head)
    if isinstance(completion, TurnError):
        return completion.response(headers)
    return JSONResponse(completion, headers=headers)


def _planner(
    body: CompletionRequest, choice: ChatChoice, operations: ChatOperations, config: AdapterConfig
) -> Planner:
    conversation = read_conversation(body.messages, takes_system=config.trust_system)
    system_prompt = config.system_prompt_of(conversation.system_prompt)
    conversation = replace(conversation, system_prompt=system_prompt)
    chat = NewChat(
        model=body.model,
        tools=read_tools(body, config.tools),
        labels=_labels(body.metadata, operations) if choice.is_kept else {},
    )
    return Planner(
        operations,
        conversation,
        choice,
        chat,
        key=fingerprint(conversation, choice.answer),
        expires_in_seconds=config.expires_in_seconds,
    )


async def _open(planner: Planner, request: Request) -> tuple[Plan, TurnStream]:
    """Make the transition of a request, and open the stream of its turn."""
    for number in range(1, _MAX_PLANS + 1):
        plan = await planner.plan()
        try:
            stream = await open_turn_stream(
                request,
                planner.operations,
                plan.chat_id,
                plan.transition,
                first_step=plan.first_step,
                leaving_stops=planner.choice.is_kept,
                deletes_chat=not plan.is_kept,
            )
        except _DONE_MEANWHILE:
            if number == _MAX_PLANS:
                raise
        else:
            return plan, stream
    raise AssertionError("the last plan returns or raises")


def _headers(body: CompletionRequest, plan: Plan) -> Mapping[str, str]:
    headers = {}
    if plan.is_kept:
        headers[CHAT] = str(plan.chat_id)
    if plan.is_detached:
        headers[DETACHED] = "1"
    if body.ignored:
        headers[IGNORED] = ", ".join(body.ignored)
    return headers


def _labels(metadata: Mapping[str, Any] | None, operations: ChatOperations) -> dict[str, str]:
    """Return what of the metadata can be labels. Clients put all kinds of things there."""
    labels = {
        name: value
        for name, value in (metadata or {}).items()
        if name != METADATA_CHAT
        and isinstance(value, str)
        and 0 < len(name) <= _MAX_LABEL_NAME_LENGTH
        and len(value) <= _MAX_LABEL_LENGTH
        and ":" not in name
    }
    most = operations.context.limits.max_labels or len(labels)
    return dict([*labels.items()][:most])
