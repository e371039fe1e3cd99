"""Routes of chats, their journal, and the models."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.api.request.pagination import Limit
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.content import sent_content
from chatd.api.schema.requests import CompactChat, CreateChat, ForkChat, UpdateChat
from chatd.api.schema.resources import (
    Chat,
    JournalEntry,
    Model,
    Page,
)
from chatd.api.schema.types import MAX_BIGINT
from chatd.domain.errors import ChatTreeBusy

router = APIRouter(prefix="/api/v1", tags=["chats"])

Version = Annotated[int, Query(ge=0, le=MAX_BIGINT, description="Only entries after this version.")]


@router.post(
    "/chats",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(
        "chat_exists",
        "chat_full",
        "chat_gone",
        "file_not_found",
        "chat_not_found",
        "model_not_found",
        "storage_full",
        "too_many_active_chats",
        "too_many_labels",
        "too_many_parts",
        "too_many_tools",
        "unsupported_file",
    ),
)
async def create_chat(
    body: CreateChat,
    caller: Caller,
    context: Context,
    key: IdempotencyKeyHeader,
    response: Response,
) -> Chat:
    """Create a chat. With `content` it is answered at once. Without, it is `waiting` for a message.

    With an `id` that you chose, a request that is repeated, however late, creates no second chat.
    """
    chat = await create(body, caller, context, key)
    response.headers["location"] = location(chat.id)
    return chat


async def create(
    body: CreateChat, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> Chat:
    """Create the chat of ``create_chat``."""
    model = context.catalog.default if body.model is None else context.catalog.by_name(body.model)
    content = None
    if body.content is not None:
        content = await context.check_content(sent_content(body.content), model_id=model.id)
    history = await context.check_messages(body.messages, model_id=model.id)
    result = await context.store.chats.create(
        owner_id=caller.owner_id,
        actor=caller.actor,
        model_config_id=model.id,
        chat_id=body.id,
        content=content.parts if content else None,
        files=content.files if content else (),
        history=history,
        title=body.title,
        system_prompt=body.system_prompt,
        labels=context.limits.check_labels(body.labels),
        tools=[tool.model_dump() for tool in context.limits.check_tools(body.tools)],
        server_tools=context.limits.check_server_tools(body.server_tools),
        permissions=body.permissions(),
        expires_in_seconds=body.expires_in_seconds,
        key=key,
    )
    return await context.present_chat(result.chat)


def location(chat_id: UUID) -> str:
    """Return the path of a chat."""
    return f"/api/v1/chats/{chat_id}"


@router.post(
    "/chats/{chat_id}/fork",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(
        "chat_full", "chat_not_found", "message_not_found", "storage_full", "too_many_labels"
    ),
)
async def fork_chat(
    chat_id: UUID,
    body: ForkChat,
    caller: Caller,
    context: Context,
    key: IdempotencyKeyHeader,
    response: Response,
) -> Chat:
    """Make a new chat with this one's history up to a message.

    It waits for a message. It has the files and the client's tools too, but not the queue. Calls
    of tools that have no results yet are left out. The two chats are changed and deleted apart.
    """
    result = await context.store.chats.fork(
        chat_id,
        owner_id=caller.owner_id,
        actor=caller.actor,
        from_message_id=body.from_message_id,
        title=body.title,
        labels=context.limits.check_labels(body.labels),
        key=key,
    )
    response.headers["location"] = location(result.chat.id)
    return await context.present_chat(result.chat)


@router.get("/chats/{chat_id}", responses=problem_responses("chat_not_found"))
async def get_chat(chat_id: UUID, caller: Caller, context: Context) -> Chat:
    """Return a chat, and what the family of a root has spent."""
    chat, family = await context.store.reads.chat_with_family(chat_id, owner_id=caller.owner_filter)
    return await context.present_chat(chat, family)


@router.patch(
    "/chats/{chat_id}",
    responses=problem_responses("chat_not_found", "chat_tree_busy", "too_many_labels"),
)
async def update_chat(
    chat_id: UUID, body: UpdateChat, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> Chat:
    """Change a chat's title, labels or permissions, or archive it.

    All but the last can be changed at any time. To archive or unarchive a chat with its descendants, all
    of them must be idle.
    """
    if body.archived is not None:
        try:
            results = await context.store.chats.archive(
                chat_id,
                owner_id=caller.owner_id,
                actor=caller.actor,
                archived=body.archived,
                title=body.title,
                labels=context.limits.check_labels(body.labels),
                permissions=body.permissions(),
                key=key,
            )
            return await context.present_chat(results[0].chat)
        except ChatTreeBusy:
            chat = await context.store.reads.chat(chat_id, owner_id=caller.owner_id)
            if chat.archived is not body.archived:
                raise
            # Busy, and as the body asks already, like its whole tree: the rest may change.
    if body.title is None and body.labels is None and body.permissions() is None:
        if (
            key is not None
        ):  # Nothing changes, so nothing is stored. The key may be another request's.
            await context.store.idempotency.lookup(key)
        return await get_chat(chat_id, caller, context)
    result = await context.store.chats.describe(
        chat_id,
        owner_id=caller.owner_id,
        actor=caller.actor,
        title=body.title,
        labels=context.limits.check_labels(body.labels),
        permissions=body.permissions(),
        key=key,
    )
    return await context.present_chat(result.chat)


@router.delete(
    "/chats/{chat_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problem_responses("chat_not_found"),
)
async def delete_chat(chat_id: UUID, caller: Caller, context: Context) -> None:
    """Delete a chat, its descendants, and everything stored of them. A running turn ends.

    Chats are kept until they are deleted, unless they expire.
    """
    await context.store.chats.delete(chat_id, owner_id=caller.owner_id)


@router.post(
    "/chats/{chat_id}/interrupt",
    responses=problem_responses("chat_not_found", "status_unknown"),
)
async def interrupt_chat(
    chat_id: UUID, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> Chat:
    """Stop the running turn. The answer so far is kept. Safe to repeat."""
    result = await context.store.chats.interrupt(
        chat_id, owner_id=caller.owner_id, actor=caller.actor, key=key
    )
    return await context.present_chat(result.chat)


@router.post(
    "/chats/{chat_id}/retry",
    responses=problem_responses(
        "chat_not_found", "chat_archived", "nothing_to_retry", "too_many_active_chats"
    ),
)
async def retry_chat(
    chat_id: UUID, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> Chat:
    """Retry the failed turn without a new message."""
    result = await context.store.chats.retry(
        chat_id, owner_id=caller.owner_id, actor=caller.actor, key=key
    )
    return await context.present_chat(result.chat)


@router.post(
    "/chats/{chat_id}/clear",
    responses=problem_responses("chat_not_found", "chat_archived", "chat_busy"),
)
async def clear_chat(
    chat_id: UUID, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> Chat:
    """Clear the history and the queue, but not the system prompt. The chat must be idle."""
    result = await context.store.messages.clear(
        chat_id, owner_id=caller.owner_id, actor=caller.actor, key=key
    )
    return await context.present_chat(result.chat)


@router.post(
    "/chats/{chat_id}/compact",
    status_code=HTTPStatus.ACCEPTED,
    responses=problem_responses(
        "chat_not_found", "chat_archived", "nothing_to_compact", "too_many_active_chats"
    ),
)
async def compact_chat(
    chat_id: UUID, body: CompactChat, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> Chat:
    """Have a summary written that stands for the history.

    The model is shown it in place of the messages so far, and people still read every one. An idle chat
    becomes `pending` for it. If its last turn failed, that is tried again afterwards. A busy chat is
    compacted before its model is called next.
    """
    result = await context.store.messages.request_compaction(
        chat_id,
        owner_id=caller.owner_id,
        actor=caller.actor,
        instructions=body.instructions,
        key=key,
    )
    return await context.present_chat(result.chat)


@router.get(
    "/chats/{chat_id}/events",
    summary="List journal entries",
    dependencies=[RejectUnknownParameters],
    responses=problem_responses("chat_not_found"),
)
async def list_events(
    chat_id: UUID,
    caller: Caller,
    context: Context,
    after: Version = 0,
    limit: Limit = 100,
) -> Page[JournalEntry]:
    """Return the chat's journal: all its transitions, oldest first."""
    await context.store.reads.chat(chat_id, owner_id=caller.owner_filter)
    entries = await context.store.reads.journal_entries(chat_id, after=after, limit=limit + 1)
    return Page(
        items=[
            context.present.journal_entry(entry, for_operator=caller.is_operator)
            for entry in entries[:limit]
        ],
        next_cursor=str(entries[limit - 1].version) if len(entries) > limit else None,
    )


@router.get("/models", tags=["models"])
async def list_models(_caller: Caller, context: Context) -> Page[Model]:
    """Return the models that a chat may use."""
    default = context.catalog.default
    return Page(
        items=[
            Model(
                id=model.id,
                name=model.name,
                provider=model.provider,
                context_limit=model.context_limit,
                context_limit_source=model.context_limit_source,
                default=model is default,
            )
            for model in context.catalog.models
        ]
    )
