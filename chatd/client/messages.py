"""Methods for the messages of a chat and its queue."""

from collections.abc import AsyncIterator, Sequence

from chatd.client.http import Http, api_path, drop_none
from chatd.client.pagination import paginate
from chatd.client.types import (
    AppendMessagesResult,
    BusyBehavior,
    Chat,
    Content,
    Message,
    MessageInput,
    QueuedMessage,
    SendMessageResult,
    Tool,
)


class Messages:
    """Methods for the messages of a chat, as ``client.messages``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self, chat_id: str, *, after_id: int = 0, page_size: int = 100
    ) -> AsyncIterator[Message]:
        """Return the history, oldest first, from the start or after the message ``after_id``."""
        params = {"after_id": after_id, "limit": page_size}
        return paginate(
            self._http, api_path("chats", chat_id, "messages"), params, cursor_param="after_id"
        )

    async def list_older(
        self, chat_id: str, before_id: int, *, page_size: int = 100
    ) -> AsyncIterator[Message]:
        """Return the history before the message ``before_id``, newest first.

        A snapshot has the newest messages only. Its ``older_cursor`` is the ``before_id`` of the others.
        """
        cursor: int | None = before_id
        while cursor is not None:
            params = {"before_id": cursor, "limit": page_size}
            page = await self._http.request(
                "GET", api_path("chats", chat_id, "messages"), params=params
            )
            for message in reversed(page["items"]):
                yield message
            cursor = page.get("next_cursor")

    async def send(
        self,
        chat_id: str,
        content: Content,
        *,
        model: str | None = None,
        busy_behavior: BusyBehavior | None = None,
        tools: Sequence[Tool] | None = None,
        idempotency_key: str | None = None,
    ) -> SendMessageResult:
        """Send a message. An idle chat answers it at once.

        Args:
            chat_id: Chat that receives the message.
            content: A text, or a list of parts.
            model: Model of this and later messages. Default: the chat's.
            busy_behavior: Behavior if the chat is busy. Default: the message is queued.
            tools: Tools that this client runs. They replace those of the chat. Default: they stay.
            idempotency_key: Key of the request, see ``Client``.

        Raises:
            Conflict: The chat is archived, or it is busy and ``busy_behavior`` is ``reject``.
            TooManyRequests: The queue is full, or the owner has too many active chats.
        """
        sent: SendMessageResult = await self._http.request(
            "POST",
            api_path("chats", chat_id, "messages"),
            json=drop_none(content=content, model=model, busy_behavior=busy_behavior, tools=tools),
            idempotency_key=idempotency_key,
        )
        return sent

    async def append(
        self,
        chat_id: str,
        messages: Sequence[MessageInput],
        *,
        idempotency_key: str | None = None,
    ) -> AppendMessagesResult:
        """Store messages of any role at the end of an idle chat's history. None is answered.

        Raises:
            Conflict: The chat is archived, or busy.
            InvalidRequest: A tool call has no result in the next message, or a result no call.
        """
        appended: AppendMessagesResult = await self._http.request(
            "POST",
            api_path("chats", chat_id, "append"),
            json={"messages": messages},
            idempotency_key=idempotency_key,
        )
        return appended

    async def edit(
        self,
        chat_id: str,
        message_id: int,
        content: Content,
        *,
        idempotency_key: str | None = None,
    ) -> Message:
        """Replace a user message and all later messages by a new one, and have it answered.

        Raises:
            InvalidRequest: The message is not a user message.
            Conflict: The chat is archived.
        """
        message: Message = await self._http.request(
            "PATCH",
            api_path("chats", chat_id, "messages", message_id),
            json={"content": content},
            idempotency_key=idempotency_key,
        )
        return message

    async def regenerate(
        self, chat_id: str, message_id: int, *, idempotency_key: str | None = None
    ) -> Chat:
        """Have the user's message that led to this one answered again. Later messages are dropped.

        Raises:
            Conflict: The chat is archived.
        """
        chat: Chat = await self._http.request(
            "POST",
            api_path("chats", chat_id, "messages", message_id, "regenerate"),
            idempotency_key=idempotency_key,
        )
        return chat

    async def file(self, chat_id: str, file_id: str) -> bytes:
        """Return the bytes of a file that a message of the chat refers to."""
        data: bytes = await self._http.request(
            "GET", api_path("chats", chat_id, "files", file_id), raw=True
        )
        return data


class Queue:
    """Methods for the queued messages of a chat, as ``client.queue``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self, chat_id: str) -> Sequence[QueuedMessage]:
        """Return the queued messages, the next one first."""
        pages = paginate(
            self._http, api_path("chats", chat_id, "queue"), {}, cursor_param="after_id"
        )
        return [item async for item in pages]

    async def remove(self, chat_id: str, queued_id: int) -> None:
        """Remove a message from the queue."""
        await self._http.request(
            "DELETE",
            api_path("chats", chat_id, "queue", queued_id),
            done_code="queued_message_not_found",
        )

    async def promote(
        self, chat_id: str, queued_id: int, *, idempotency_key: str | None = None
    ) -> Chat:
        """Move a queued message to the front. A running turn stops for it and keeps its answer so far."""
        chat: Chat = await self._http.request(
            "POST",
            api_path("chats", chat_id, "queue", queued_id, "promote"),
            idempotency_key=idempotency_key,
        )
        return chat
