"""A caller of one chatd, or of several behind one address."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from chatd.client.chats import Chats, Messages, Queue, pages
from chatd.client.follow import FollowingChat, FollowingChats, Gap
from chatd.client.http import Http
from chatd.client.shapes import Chat, Model, ProcessStatus, ToolResult


class Client:
    """The API of the chatd at ``base_url``, as an async context manager.

    ``timeout_seconds`` is how long one answer may take; ``patience_seconds`` how long a request is
    repeated while no answer can be had (None: for ever); ``stream_idle_timeout_seconds`` how long a stream may
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
        patience_seconds: float | None = 30.0,
        silence_seconds: float = 45.0,
    ) -> None:
        self._root = base_url.rstrip("/")
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        if owner is not None:
            headers["x-chatd-owner"] = owner
        self._http = Http(
            base_url,
            headers=headers,
            timeout_seconds=timeout_seconds,
            silence_seconds=silence_seconds,
            patience_seconds=patience_seconds,
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
        status: ProcessStatus = await self._http.ask("GET", f"{self._root}/statusz")
        return status

    async def models(self) -> Sequence[Model]:
        """The models that a chat may ask for."""
        return [model async for model in pages(self._http, "/models", {})]

    async def submit_tool_results(
        self, chat_id: str, results: Sequence[ToolResult], *, idempotency_key: str | None = None
    ) -> Chat:
        """Answer all the calls that the chat waits for; it goes on with them."""
        chat: Chat = await self._http.ask(
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
        patience_seconds: float | None = None,
        on_gap: Gap | None = None,
    ) -> FollowingChat:
        """What happens in a chat, each event once, over cut wires and restarts of the server.

        Begins with a ``Snapshot``, or after the event with the id ``after``. Ends when the chat is
        deleted. ``patience_seconds`` is how long it goes on without an answer; None: for ever.
        """
        return FollowingChat(
            self._http,
            f"/chats/{chat_id}/stream",
            after=after,
            patience_seconds=patience_seconds,
            on_gap=on_gap,
        )

    def follow_all(
        self,
        after: str | None = None,
        *,
        patience_seconds: float | None = None,
        on_gap: Gap | None = None,
    ) -> FollowingChats:
        """What happens among all your chats: each as it is, whenever one of them moved.

        Begins with a ``ChatsSnapshot`` of the most recent ones, or with what moved since ``after``.
        """
        return FollowingChats(
            self._http,
            "/chats/stream",
            after=after,
            patience_seconds=patience_seconds,
            on_gap=on_gap,
        )
