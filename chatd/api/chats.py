"""Routes of chats."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chatd.api.auth import Caller
from chatd.api.desk import AtDesk
from chatd.api.keys import Keyed
from chatd.api.pages import Limit
from chatd.api.problems import documented
from chatd.api.query import OnlyKnown
from chatd.api.schemas import (
    LARGEST,
    ChangeChat,
    ChatOut,
    CreateChat,
    EntryOut,
    ModelOut,
    Page,
)

router = APIRouter(prefix="/api/v1", tags=["chats"])

Version = Annotated[int, Query(ge=0, le=LARGEST, description="Only what came after this version.")]


@router.post(
    "/chats",
    status_code=HTTPStatus.CREATED,
    responses=documented(
        "model_not_found", "too_many_chats", "too_many_labels", "too_many_parts", "too_many_tools"
    ),
)
async def create_chat(body: CreateChat, caller: Caller, desk: AtDesk, key: Keyed) -> ChatOut:
    """Create a chat. With `content` it is to be answered at once; without, it waits for a message."""
    model = desk.catalog.default if body.model is None else desk.catalog.by_name(body.model)
    moved = await desk.chats.create(
        owner_id=caller.owner_id,
        model_config_id=model.id,
        content=None if body.content is None else desk.limits.content(body.content),
        title=body.title,
        system_prompt=body.system_prompt,
        labels=desk.limits.labels(body.labels),
        tools=desk.limits.tools(body.tools),
        key=key,
    )
    return await desk.moved(moved)


@router.get("/chats/{chat_id}", responses=documented("chat_not_found"))
async def get_chat(chat_id: UUID, caller: Caller, desk: AtDesk) -> ChatOut:
    """One chat."""
    chat = await desk.reads.chat(chat_id, owner_id=caller.sees)
    await desk.know(chat.last_model_config_id)
    return desk.dress.chat(chat)


@router.patch(
    "/chats/{chat_id}",
    responses=documented("chat_not_found", "family_busy", "too_many_labels"),
)
async def change_chat(
    chat_id: UUID, body: ChangeChat, caller: Caller, desk: AtDesk, key: Keyed
) -> ChatOut:
    """Change title or labels at any time; archive or unarchive a chat at rest, with its family.

    A chat's family are the chats that it has started, and so on; no chat starts others yet.
    """
    if body.archived is not None:
        family = await desk.chats.archive(
            chat_id,
            owner_id=caller.sees,
            archived=body.archived,
            title=body.title,
            labels=desk.limits.labels(body.labels),
            key=key,
        )
        for one in family[1:]:
            desk.hints.publish(one.entry)
        return await desk.moved(family[0])
    if body.title is None and body.labels is None:
        if key is not None:  # nothing is done, so nothing is kept; but it may be another's
            await desk.keys.lookup(key)
        return await get_chat(chat_id, caller, desk)
    moved = await desk.chats.describe(
        chat_id,
        owner_id=caller.sees,
        title=body.title,
        labels=desk.limits.labels(body.labels),
        key=key,
    )
    return await desk.moved(moved)


@router.delete(
    "/chats/{chat_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented("chat_not_found"),
)
async def delete_chat(chat_id: UUID, caller: Caller, desk: AtDesk) -> None:
    """Delete a chat, its descendants, and everything that is stored of them. A running turn ends.

    Nothing else removes a chat: it is kept until it is deleted.
    """
    for gone, version in await desk.chats.delete(chat_id, owner_id=caller.sees):
        desk.hints.publish_deleted(gone, version)


@router.post("/chats/{chat_id}/interrupt", responses=documented("chat_not_found"))
async def interrupt_chat(chat_id: UUID, caller: Caller, desk: AtDesk, key: Keyed) -> ChatOut:
    """Stop what the chat is doing. What the model said so far is kept. Safe to repeat."""
    return await desk.moved(await desk.chats.interrupt(chat_id, owner_id=caller.sees, key=key))


@router.post(
    "/chats/{chat_id}/retry",
    responses=documented("chat_not_found", "chat_archived", "nothing_to_retry", "too_many_chats"),
)
async def retry_chat(chat_id: UUID, caller: Caller, desk: AtDesk, key: Keyed) -> ChatOut:
    """Try a failed turn again, without a new message."""
    return await desk.moved(await desk.chats.retry(chat_id, owner_id=caller.sees, key=key))


@router.post(
    "/chats/{chat_id}/clear",
    responses=documented("chat_not_found", "chat_archived", "chat_busy"),
)
async def clear_chat(chat_id: UUID, caller: Caller, desk: AtDesk, key: Keyed) -> ChatOut:
    """Start over: the history and the queue go, but for the system prompt. The chat must be at rest."""
    return await desk.moved(await desk.messages.clear(chat_id, owner_id=caller.sees, key=key))


@router.get(
    "/chats/{chat_id}/events",
    dependencies=[OnlyKnown],
    responses=documented("chat_not_found"),
)
async def list_events(
    chat_id: UUID,
    caller: Caller,
    desk: AtDesk,
    after: Version = 0,
    limit: Limit = 100,
) -> Page[EntryOut]:
    """The chat's journal: every move that was made on it, oldest first."""
    await desk.reads.chat(chat_id, owner_id=caller.sees)
    found = await desk.reads.journal_entries(chat_id, after=after, limit=limit + 1)
    return Page(
        items=[desk.dress.entry(entry) for entry in found[:limit]],
        next_cursor=str(found[limit - 1].version) if len(found) > limit else None,
    )


@router.get("/models", tags=["models"])
async def list_models(_caller: Caller, desk: AtDesk) -> Page[ModelOut]:
    """The models that a chat may ask for."""
    default = desk.catalog.default
    return Page(
        items=[
            ModelOut(
                id=model.id,
                name=model.name,
                provider=model.provider,
                context_limit=model.context_limit,
                default=model is default,
            )
            for model in desk.catalog.models
        ]
    )
