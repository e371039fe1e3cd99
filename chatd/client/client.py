"""A caller of one chatd, or of several behind one address."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from chatd.client.chats import Chats, Messages, Queue, paginate
from chatd.client.follow import ChatEventStream, ChatListEventStream, ReconnectCallback
from chatd.client.http import Http
from chatd.client.types import Chat, Model, ProcessStatus, ToolResultInput


class Client:
    """The API of the chatd at ``base_url``, as an async context manager.

    ``timeout_seconds`` is how long one answer may take; ``retry_timeout_seconds`` how long a request is
    repeated while no answer can be had (None: for ever); ``read_timeout_seconds`` how long a stream may
    say nothing before its wire is taken for dead: more than the server's ``http.sse_keepalive_seconds``.
    ``owner`` is for admins who act for somebody else.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        owner: str | None = None,
        timeout_seconds: float = 30.0,
        retry_timeout_seconds: float | None = 30.0,
        read_timeout_seconds: float = 45.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        if owner is not None:
            headers["x-chatd-owner"] = owner
        self._http = Http(
            base_url,
            headers=headers,
            timeout_seconds=timeout_seconds,
            read_timeout_seconds=read_timeout_seconds,
            retry_timeout_seconds=retry_timeout_seconds,
        )
        self.chats = Chats(self._http)
        self.messages = Messages(self._http)
        self.queue = Queue(self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def status(self) -> ProcessStatus:
        """How the process that answers is: its actors, the chats in hand, its connections."""
        status: ProcessStatus = await self._http.request("GET", f"{self._base_url}/statusz")
        return status

    async def models(self) -> Sequence[Model]:
        """The models that a chat may ask for."""
        return [model async for model in paginate(self._http, "/models", {})]

    async def submit_tool_results(
        self,
        chat_id: str,
        results: Sequence[ToolResultInput],
        *,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Answer all the calls that the chat waits for; it goes on with them."""
        chat: Chat = await self._http.request(
            "POST",
            f"/chats/{chat_id}/tool-results",
            json={"results": [*results]},
            idempotency_key=idempotency_key,
        )
        return chat

    def follow(
        self,
        chat_id: str,
        after: str | None = None,
        *,
        retry_timeout_seconds: float | None = None,
        on_reconnect: ReconnectCallback | None = None,
    ) -> ChatEventStream:
        """What happens in a chat, each event once, over cut wires and restarts of the server.

        Begins with a ``Snapshot``, or after the event with the id ``after``. Ends when the chat is
        deleted. ``retry_timeout_seconds`` is how long it goes on without an answer; None: for ever.
        """
        return ChatEventStream(
            self._http,
            f"/chats/{chat_id}/stream",
            after=after,
            retry_timeout_seconds=retry_timeout_seconds,
            on_reconnect=on_reconnect,
        )

    def follow_all(
        self,
        after: str | None = None,
        *,
        retry_timeout_seconds: float | None = None,
        on_reconnect: ReconnectCallback | None = None,
    ) -> ChatListEventStream:
        """What happens among all your chats: each as it is, whenever one of them moved.

        Begins with a ``ChatListSnapshot`` of the most recent ones, or with what moved since ``after``.
        """
        return ChatListEventStream(
            self._http,
            "/chats/stream",
            after=after,
            retry_timeout_seconds=retry_timeout_seconds,
            on_reconnect=on_reconnect,
        )
