"""Methods for chats."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from chatd.client.http import Http, api_path, drop_none
from chatd.client.pagination import paginate
from chatd.client.types import (
    Chat,
    Content,
    Explanation,
    JournalEntry,
    MessageInput,
    MessageMatch,
    PermissionMode,
    ServerTools,
    Status,
    Tool,
    ToolCallRecord,
    ToolRule,
)

_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 50, 200


class FoundChat(NamedTuple):
    """A chat that a search found, and its newest message that has the words."""

    chat: Chat
    match: MessageMatch


def _found_chats(page: Mapping[str, Any]) -> list[FoundChat]:
    return [FoundChat(chat, page["matches"][chat["id"]]) for chat in page["items"]]


class Chats:
    """Methods for chats, as ``client.chats``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(
        self,
        content: Content | None = None,
        *,
        id: str | None = None,  # noqa: A002 - its name in the API
        messages: Sequence[MessageInput] | None = None,
        title: str | None = None,
        model: str | None = None,
        system_prompt: str | None = None,
        labels: Mapping[str, str] | None = None,
        tools: Sequence[Tool] | None = None,
        server_tools: ServerTools | None = None,
        permission_mode: PermissionMode | None = None,
        tool_rules: Sequence[ToolRule] | None = None,
        expires_in_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Create a chat. With ``content`` it is answered at once. Without, it waits for a message.

        Args:
            content: First message: a text, or a list of parts.
            id: Id of the chat, a UUID. Default: a random one.
            messages: History that stands before ``content``.
            title: Title of the chat.
            model: Name of a model of ``Client.models``. Default: the server's.
            system_prompt: Instructions for the model. They cannot be changed later.
            labels: Labels by name.
            tools: Tools that this client runs. See ``Client.submit_tool_results``.
            server_tools: Chosen MCP servers and HTTP tools of the server. Default: as it is configured.
            permission_mode: ``ask``: a person allows each call of a server tool that does not only read.
                ``read_only``: such calls are denied.
            tool_rules: Permissions for server tools, stricter than those of the configuration.
            expires_in_seconds: Delete the chat then, or when it is idle next. It is in no list.
            idempotency_key: Key of the request, see ``Client``.

        Raises:
            Conflict: There is a chat with this ``id``.
            InvalidRequest: A field is invalid, or the model is not configured.
            TooManyRequests: The owner has too many active chats.
        """
        body = drop_none(
            content=content,
            id=id,
            messages=messages,
            title=title,
            model=model,
            system_prompt=system_prompt,
            labels=labels,
            tools=tools,
            server_tools=server_tools,
            permission_mode=permission_mode,
            tool_rules=tool_rules,
            expires_in_seconds=expires_in_seconds,
        )
        chat: Chat = await self._http.request(
            "POST", "/chats", json=body, idempotency_key=idempotency_key
        )
        return chat

    async def fork(
        self,
        chat_id: str,
        *,
        from_message_id: int | None = None,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Make a new chat with the history of this one, and its files and tools. It waits for a message.

        Args:
            chat_id: Chat that is copied. It stays as it is.
            from_message_id: Last message to copy. Default: the last one that there is.
            title: Title of the new chat. Default: the same.
            labels: Labels of the new chat. Default: the same.
            idempotency_key: Key of the request, see ``Client``.
        """
        chat: Chat = await self._http.request(
            "POST",
            api_path("chats", chat_id, "fork"),
            json=drop_none(from_message_id=from_message_id, title=title, labels=labels),
            idempotency_key=idempotency_key,
        )
        return chat

    async def get(self, chat_id: str) -> Chat:
        """Return a chat."""
        chat: Chat = await self._http.request("GET", api_path("chats", chat_id))
        return chat

    def list(
        self,
        *,
        archived: bool | Literal["any"] = False,
        status: Status | None = None,
        labels: Sequence[str] = (),
        parent: str | None = None,
        q: str | None = None,
        page_size: int | None = None,
        max_items: int | None = None,
    ) -> AsyncIterator[Chat]:
        """Return the owner's chats, most recently updated first.

        Args:
            archived: True: archived chats only. ``any``: these too.
            status: Only chats with this status.
            labels: ``name`` or ``name:value``. A chat must have all of them.
            parent: Id of the parent chat, or ``none`` for chats without a parent.
            q: Substring of the title. Case does not matter.
            page_size: Chats of one request.
            max_items: Maximum number of chats.
        """
        limit = page_size or min(max_items or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
        params = drop_none(archived=archived, status=status, parent=parent, q=q, limit=limit)
        if labels:
            params["label"] = [*labels]
        return paginate(self._http, "/chats", params, max_items=max_items)

    def children(self, chat_id: str, *, max_items: int | None = None) -> AsyncIterator[Chat]:
        """Return the chats that this one has started, archived ones included, latest update first."""
        return self.list(parent=chat_id, archived="any", max_items=max_items)

    def search(
        self,
        words: str,
        *,
        archived: bool | Literal["any"] = False,
        status: Status | None = None,
        labels: Sequence[str] = (),
        parent: str | None = None,
        page_size: int | None = None,
        max_items: int | None = None,
    ) -> AsyncIterator[FoundChat]:
        """Return the owner's chats with a message that has these words, most recently updated first.

        Each comes with its newest such message. Messages are found some seconds after they were stored.

        Args:
            words: Words, ``"phrases"``, ``or``, and ``-`` before a word that the message is not to have.
            archived: True: archived chats only. ``any``: these too.
            status: Only chats with this status.
            labels: ``name`` or ``name:value``. A chat must have all of them.
            parent: Id of the parent chat, or ``none`` for chats without a parent.
            page_size: Chats of one request.
            max_items: Maximum number of chats.
        """
        limit = page_size or min(max_items or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
        params = drop_none(archived=archived, status=status, parent=parent, q=words, limit=limit)
        params |= {"in": "messages", "label": [*labels]}
        return paginate(self._http, "/chats", params, max_items=max_items, items_of=_found_chats)

    async def update(
        self,
        chat_id: str,
        *,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        archived: bool | None = None,
        permission_mode: PermissionMode | None = None,
        tool_rules: Sequence[ToolRule] | None = None,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Change title or labels at any time. Archive or unarchive an idle chat, with its descendants.

        Arguments that are None stay unchanged. ``labels`` replaces all labels.

        Raises:
            Conflict: The chat or one of its descendants is busy, so it cannot be archived.
        """
        chat: Chat = await self._http.request(
            "PATCH",
            api_path("chats", chat_id),
            json=drop_none(
                title=title,
                labels=labels,
                archived=archived,
                permission_mode=permission_mode,
                tool_rules=tool_rules,
            ),
            idempotency_key=idempotency_key,
        )
        return chat

    async def delete(self, chat_id: str) -> None:
        """Delete a chat, its descendants, and everything stored of them."""
        await self._http.request("DELETE", api_path("chats", chat_id), done_code="chat_not_found")

    async def interrupt(self, chat_id: str, *, idempotency_key: str | None = None) -> Chat:
        """Stop the running turn. The answer so far is kept."""
        return await self._post_action(chat_id, "interrupt", idempotency_key)

    async def retry(self, chat_id: str, *, idempotency_key: str | None = None) -> Chat:
        """Retry the failed turn without a new message.

        Raises:
            Conflict: The chat is archived, or its last turn did not fail.
        """
        return await self._post_action(chat_id, "retry", idempotency_key)

    async def clear(self, chat_id: str, *, idempotency_key: str | None = None) -> Chat:
        """Clear the history and the queue, but not the system prompt.

        Raises:
            Conflict: The chat is busy or archived.
        """
        return await self._post_action(chat_id, "clear", idempotency_key)

    async def compact(
        self,
        chat_id: str,
        *,
        instructions: str | None = None,
        idempotency_key: str | None = None,
    ) -> Chat:
        """Have a summary written that the model is shown in place of the history so far.

        Args:
            chat_id: Chat to compact. A busy one is compacted before its model is called next.
            instructions: What the summary is to keep.
            idempotency_key: Key of the request, see ``Client``.

        Raises:
            Conflict: The chat is archived, or has no messages since its last summary.
            TooManyRequests: The owner has too many active chats.
        """
        chat: Chat = await self._http.request(
            "POST",
            api_path("chats", chat_id, "compact"),
            json=drop_none(instructions=instructions),
            idempotency_key=idempotency_key,
        )
        return chat

    async def _post_action(self, chat_id: str, action: str, idempotency_key: str | None) -> Chat:
        chat: Chat = await self._http.request(
            "POST", api_path("chats", chat_id, action), idempotency_key=idempotency_key
        )
        return chat

    async def explain(self, chat_id: str) -> Explanation:
        """Return the reasons for the chat's state: its worker, its activity, and what it waits for."""
        explanation: Explanation = await self._http.request(
            "GET", api_path("chats", chat_id, "explain")
        )
        return explanation

    def tool_calls(
        self, chat_id: str, *, after_id: int = 0, page_size: int = 100
    ) -> AsyncIterator[ToolCallRecord]:
        """Return the tool calls of a chat, oldest first, of all messages or of those after ``after_id``.

        They have the states, policies, tries and times of the calls. Arguments and results are in messages.
        """
        params = {"after_id": after_id, "limit": page_size}
        return paginate(
            self._http, api_path("chats", chat_id, "tool-calls"), params, cursor_param="after_id"
        )

    def events(
        self, chat_id: str, *, after: int = 0, page_size: int = 100
    ) -> AsyncIterator[JournalEntry]:
        """Return the journal of a chat: all its transitions after a version, oldest first."""
        params = {"after": after, "limit": page_size}
        return paginate(
            self._http, api_path("chats", chat_id, "events"), params, cursor_param="after"
        )
