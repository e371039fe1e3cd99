"""What can be asked of chats, of their messages, and of their queues."""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from chatd.client.http import Http
from chatd.client.types import (
    BusyBehavior,
    Chat,
    Content,
    Explanation,
    JournalEntry,
    Message,
    QueuedMessage,
    SendMessageResult,
    Status,
    Tool,
)


def drop_none(**fields: Any) -> dict[str, Any]:
    """The fields that were given a value."""
    return {name: value for name, value in fields.items() if value is not None}


async def paginate(
    http: Http,
    path: str,
    params: Mapping[str, Any],
    *,
    cursor_param: str = "cursor",
    max_items: int | None = None,
) -> AsyncIterator[Any]:
    """The items of all pages, or so many; the next page is asked for when it is needed."""
    place: dict[str, Any] = {}
    left = math.inf if max_items is None else max_items
    while left > 0:
        page = await http.request("GET", path, params={**params, **place})
        for item in page["items"][: None if max_items is None else int(left)]:
            left -= 1
            yield item
        if page.get("next_cursor") is None:
            return
        place = {cursor_param: page["next_cursor"]}


_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 50, 200


class Chats:
    """``client.chats``"""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(
        self,
        content: Content | None = None,
        *,
        title: str | None = None,
        model: str | None = None,
        system_prompt: str | None = None,
        labels: Mapping[str, str] | None = None,
        tools: Sequence[Tool] | None = None,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Create a chat. With ``check_content`` it is answered at once; without, it waits for a message."""
        body = drop_none(
            content=content,
            title=title,
            model=model,
            system_prompt=system_prompt,
            labels=labels,
            tools=tools,
        )
        chat: Chat = await self._http.request(
            "POST", "/chats", json=body, idempotency_key=idempotency_key
        )
        return chat

    async def get(self, chat_id: str) -> Chat:
        """One chat, as it is now."""
        chat: Chat = await self._http.request("GET", f"/chats/{chat_id}")
        return chat

    def list(
        self,
        *,
        archived: bool | None = None,
        status: Status | None = None,
        labels: Sequence[str] = (),
        parent: str | None = None,
        q: str | None = None,
        page_size: int | None = None,
        max_items: int | None = None,
    ) -> AsyncIterator[Chat]:
        """Your chats, most recently touched first; at most so many.

        ``check_labels`` are ``name`` or ``name:value`` and must all be there; ``q`` is looked for in titles.
        """
        limit = page_size or min(max_items or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
        params = drop_none(archived=archived, status=status, parent=parent, q=q, limit=limit)
        if labels:
            params["label"] = [*labels]
        return paginate(self._http, "/chats", params, max_items=max_items)

    async def update(
        self,
        chat_id: str,
        *,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        archived: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Change title or labels at any time; archive or unarchive a chat, with its family, at rest."""
        chat: Chat = await self._http.request(
            "PATCH",
            f"/chats/{chat_id}",
            json=drop_none(title=title, labels=labels, archived=archived),
            idempotency_key=idempotency_key,
        )
        return chat

    async def delete(self, chat_id: str) -> None:
        """Delete a chat and all that was said in it."""
        await self._http.request("DELETE", f"/chats/{chat_id}")

    async def interrupt(self, chat_id: str, *, idempotency_key: str | None = None) -> Chat:
        """Stop what the chat is doing. What the model said so far is kept."""
        return await self._post_action(chat_id, "interrupt", idempotency_key)

    async def retry(self, chat_id: str, *, idempotency_key: str | None = None) -> Chat:
        """Try a failed turn again, without a new message."""
        return await self._post_action(chat_id, "retry", idempotency_key)

    async def clear(self, chat_id: str, *, idempotency_key: str | None = None) -> Chat:
        """Begin anew in the same chat: what was said is no longer shown or told to the model."""
        return await self._post_action(chat_id, "clear", idempotency_key)

    async def _post_action(self, chat_id: str, action: str, idempotency_key: str | None) -> Chat:
        chat: Chat = await self._http.request(
            "POST", f"/chats/{chat_id}/{action}", idempotency_key=idempotency_key
        )
        return chat

    async def explain(self, chat_id: str) -> Explanation:
        """What the chat is doing, who does it, and what it waits for."""
        told: Explanation = await self._http.request("GET", f"/chats/{chat_id}/explain")
        return told

    def events(
        self, chat_id: str, *, after: int = 0, page_size: int = 100
    ) -> AsyncIterator[JournalEntry]:
        """The journal: every move that was made on the chat, oldest first."""
        params = {"after": after, "limit": page_size}
        return paginate(self._http, f"/chats/{chat_id}/events", params, cursor_param="after")


class Messages:
    """``client.messages``"""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self, chat_id: str, *, after_id: int = 0, page_size: int = 100
    ) -> AsyncIterator[Message]:
        """The history, oldest first, from the start or after a message."""
        params = {"after_id": after_id, "limit": page_size}
        return paginate(self._http, f"/chats/{chat_id}/messages", params, cursor_param="after_id")

    async def send(
        self,
        chat_id: str,
        content: Content,
        *,
        model: str | None = None,
        busy_behavior: BusyBehavior | None = None,
        idempotency_key: str | None = None,
    ) -> SendMessageResult:
        """Say something. ``busy_behavior`` is what to do when the chat is busy: by default, to wait in line."""
        sent: SendMessageResult = await self._http.request(
            "POST",
            f"/chats/{chat_id}/messages",
            json=drop_none(content=content, model=model, busy_behavior=busy_behavior),
            idempotency_key=idempotency_key,
        )
        return sent

    async def edit(
        self,
        chat_id: str,
        message_id: int,
        content: Content,
        *,
        idempotency_key: str | None = None,
    ) -> Message:
        """Say it differently: the message and all later ones are replaced by a new one."""
        message: Message = await self._http.request(
            "PATCH",
            f"/chats/{chat_id}/messages/{message_id}",
            json={"content": content},
            idempotency_key=idempotency_key,
        )
        return message


class Queue:
    """``client.queue``"""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self, chat_id: str) -> Sequence[QueuedMessage]:
        """The messages that wait for the running turn to end, the next one first."""
        return [item async for item in paginate(self._http, f"/chats/{chat_id}/queue", {})]

    async def remove(self, chat_id: str, queued_id: int) -> None:
        """Take a message out of the queue."""
        await self._http.request("DELETE", f"/chats/{chat_id}/queue/{queued_id}")

    async def promote(
        self, chat_id: str, queued_id: int, *, idempotency_key: str | None = None
    ) -> Chat:
        """Answer a waiting message now; what is running is stopped first."""
        chat: Chat = await self._http.request(
            "POST", f"/chats/{chat_id}/queue/{queued_id}/promote", idempotency_key=idempotency_key
        )
        return chat
