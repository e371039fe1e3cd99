"""Client of one chatd, or of several behind one address."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from chatd.client.chats import Chats
from chatd.client.fleet import Fleet
from chatd.client.follow import ChatEventStream, ChatListEventStream, ReconnectCallback
from chatd.client.http import Http, TokenSource, api_path
from chatd.client.messages import Messages, Queue
from chatd.client.pagination import paginate
from chatd.client.types import (
    Chat,
    Model,
    ProcessStatus,
    ToolApproval,
    ToolInput,
    ToolResultInput,
)


class Client:
    """Client of the API, as an async context manager.

    Args:
        base_url: Address of the server, such as ``http://127.0.0.1:8080``.
        token: Token of ``chatd token create``, or a JWT. Or a function, also a coroutine function, that
            returns the token of the next request: short-lived ones can be renewed there.
        owner: Owner to act for. To name another than the token's takes the scope ``act-for``.
        timeout_seconds: Maximum duration of one attempt of a request.
        retry_timeout_seconds: Duration for which a failing request is repeated. None: without limit.
        read_timeout_seconds: Duration without any byte after which a stream reconnects. It must exceed the
            server's ``http.sse_keepalive_seconds``.

    Every method raises ``ClientError``: a ``ChatdHTTPError`` if the server rejects the request,
    ``ConnectFailed`` if it cannot be reached, ``UnexpectedResponse`` if something else answers.

    Methods that change something take an ``idempotency_key``. By default each call has a new key, which
    its own retries share. Pass a key to make the call safe to repeat after a restart of your program.

    Example::

        async with Client("http://127.0.0.1:8080", token=token) as client:
            chat = await client.chats.create("Why is the sky blue?")
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: TokenSource | None = None,
        owner: str | None = None,
        timeout_seconds: float = 30.0,
        retry_timeout_seconds: float | None = 30.0,
        read_timeout_seconds: float = 45.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        headers = {} if owner is None else {"x-chatd-owner": owner}
        self._http = Http(
            base_url,
            headers=headers,
            token=token,
            timeout_seconds=timeout_seconds,
            read_timeout_seconds=read_timeout_seconds,
            retry_timeout_seconds=retry_timeout_seconds,
        )
        self.chats = Chats(self._http)
        """Methods for chats."""
        self.messages = Messages(self._http)
        """Methods for the messages of a chat."""
        self.queue = Queue(self._http)
        """Methods for the queued messages of a chat."""
        self.fleet = Fleet(self._http)
        """Methods for operators."""

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
        """Return the status of the process that answers: actors, leased chats, connections."""
        status: ProcessStatus = await self._http.request("GET", f"{self._base_url}/statusz")
        return status

    async def models(self) -> Sequence[Model]:
        """Return the models that a chat may use."""
        return [model async for model in paginate(self._http, "/models", {})]

    async def submit_tool_results(
        self,
        chat_id: str,
        results: Sequence[ToolResultInput],
        *,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Submit the results of all pending tool calls of a chat. The model continues with them.

        Args:
            chat_id: Chat with the status ``requires_action``.
            results: One result for each pending call.
            idempotency_key: Key of the request, see ``Client``.

        Raises:
            Conflict: The chat does not wait for tool results.
            InvalidRequest: A result is missing, or is for a call that is not pending.
        """
        chat: Chat = await self._http.request(
            "POST",
            api_path("chats", chat_id, "tool-results"),
            json={"results": [*results]},
            idempotency_key=idempotency_key,
        )
        return chat

    async def answer_actions(
        self,
        chat_id: str,
        answers: Sequence[ToolApproval | ToolResultInput | ToolInput],
        *,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Answer some or all of the calls that a chat waits for, as in ``Transcript.action_required``.

        The chat goes on when it waits for none any more. The same answer again changes nothing.

        Args:
            chat_id: Chat with the status ``requires_action``.
            answers: One answer for each call: an approval, an input or a result.
            idempotency_key: Key of the request, see ``Client``.

        Raises:
            Conflict: Another caller answered otherwise (``already_answered``, and ``decisions`` has the
                decisions that stand), or the chat does not wait for this answer.
            InvalidRequest: A call is not asked, or its question is of another kind.
        """
        chat: Chat = await self._http.request(
            "POST",
            api_path("chats", chat_id, "actions"),
            json={"answers": [*answers]},
            idempotency_key=idempotency_key,
        )
        return chat

    async def approve(
        self,
        chat_id: str,
        tool_call_id: str,
        *,
        args: Mapping[str, Any] | None = None,
        remember: bool = False,
    ) -> Chat:
        """Allow a call to run.

        Args:
            chat_id: Chat that waits for the approval.
            tool_call_id: Id of the call.
            args: Arguments to run it with, instead of the model's.
            remember: True: later calls of this tool in the chat run unasked.

        Raises:
            Conflict, InvalidRequest: As ``answer_actions``.
        """
        answer: ToolApproval = {"tool_call_id": tool_call_id, "decision": "allow"}
        if args is not None:
            answer["args"] = {**args}
        if remember:
            answer["remember"] = "chat"
        return await self.answer_actions(chat_id, [answer])

    async def deny(
        self,
        chat_id: str,
        tool_call_id: str,
        *,
        reason: str | None = None,
        remember: bool = False,
    ) -> Chat:
        """Do not allow a call to run. The model reads the ``reason``.

        With ``remember`` the answer holds for later calls of this tool in the chat.

        Raises:
            Conflict, InvalidRequest: As ``answer_actions``.
        """
        answer: ToolApproval = {"tool_call_id": tool_call_id, "decision": "deny"}
        if reason:
            answer["reason"] = reason
        if remember:
            answer["remember"] = "chat"
        return await self.answer_actions(chat_id, [answer])

    def follow(
        self,
        chat_id: str,
        after: str | None = None,
        *,
        retry_timeout_seconds: float | None = None,
        on_reconnect: ReconnectCallback | None = None,
    ) -> ChatEventStream:
        """Return the events of a chat, each once. It reconnects when the connection breaks.

        Starts with a ``Snapshot``, or after the event with the id ``after``. Ends when the chat is deleted.

        Args:
            chat_id: Chat to follow.
            after: ``cursor`` of an earlier stream.
            retry_timeout_seconds: Duration of reconnecting without a response after which the stream raises
                ``ConnectFailed``. None: without limit.
            on_reconnect: Called before each reconnect with its reason and the wait in seconds.

        Example::

            async with client.follow(chat_id) as events:
                async for event in events:
                    match event:
                        case MessagePart():
                            print(event.data)
                        case TurnFailed():
                            print(event.data["last_error"])
        """
        return ChatEventStream(
            self._http,
            api_path("chats", chat_id, "stream"),
            after=after,
            retry_timeout_seconds=retry_timeout_seconds,
            on_reconnect=on_reconnect,
        )

    def follow_all(
        self,
        after: str | None = None,
        *,
        archived: bool | Literal["any"] = False,
        retry_timeout_seconds: float | None = None,
        on_reconnect: ReconnectCallback | None = None,
    ) -> ChatListEventStream:
        """Return the changes of all chats of the owner: each changed chat, in its current state.

        Starts with a ``ChatListSnapshot`` of the most recent chats, or with the changes since ``after``.
        Every change is sent, so a chat leaves the list when it comes as archived.

        Args:
            after: Id of the last event received.
            archived: True: a snapshot of archived chats only. ``any``: these too.
            retry_timeout_seconds: As in ``follow``.
            on_reconnect: As in ``follow``.
        """
        return ChatListEventStream(
            self._http,
            f"/chats/stream?archived={str(archived).lower()}",
            after=after,
            retry_timeout_seconds=retry_timeout_seconds,
            on_reconnect=on_reconnect,
        )
