"""Transitions that callers make on a chat as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from chatd.domain.chat import BusyBehavior
from chatd.domain.files import File
from chatd.domain.message import Content, NewMessage, Role
from chatd.domain.request_actor import RequestActor
from chatd.domain.sanitize import replace_unstorable, replace_unstorable_json
from chatd.domain.title import first_words
from chatd.domain.tool_call_errors import CANCELLED
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.claim_on_send import NO_CLAIM
from chatd.store.executor import actor_arguments, caller_arguments
from chatd.store.files import file_parameters
from chatd.store.histories import ChatHistory
from chatd.store.idempotency import IdempotencyKey, key_arguments
from chatd.store.records import TransitionResult, message_rows
from chatd.store.titles import title_parameters
from chatd.store.turns import FencingToken
from chatd.store.whole_families import WholeFamilies, description
from chatd.telemetry import tracing

_Q = sql.load("chats")


class Chats(WholeFamilies):
    """Store for callers that create, change and delete chats.

    A chat of an owner other than ``owner_id`` is ``ChatNotFound``. The journal names the ``actor`` of the
    request (None: the owner). With a ``key``, a repeated request changes nothing and returns the first
    response.
    """

    async def create(
        self,
        *,
        owner_id: str,
        model_config_id: UUID,
        chat_id: UUID | None = None,
        content: Content | None = None,
        files: Sequence[File] = (),
        history: Sequence[NewMessage] = (),
        title: str = "",
        system_prompt: str | None = None,
        labels: Mapping[str, str] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        server_tools: Mapping[str, Sequence[str]] | None = None,
        permissions: Mapping[str, Any] | None = None,
        expires_in_seconds: float | None = None,
        answers_history: bool = False,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Create a chat: pending if it has ``content``, which is answered, else waiting.

        A chat without a title gets its first words, now or when its first message is sent.

        With a ``chat_id`` that is its id, unless there is or was such a chat. ``history`` are messages that
        stand before ``content``: see ``find_history_fault``. A chat with ``expires_in_seconds`` is in no
        list, and ``delete_expired`` deletes it then. With ``answers_history`` the history is answered
        without ``content``: it ends with the results of tool calls.

        Raises:
            ChatExists, ChatGone, ChatNotFound (another owner has or had this id), TooManyActiveChats,
            ChatFull, StorageFull
        """
        messages = []
        starts_turn = content is not None or answers_history
        if system_prompt is not None:
            prompt = ({"type": "text", "text": system_prompt},)
            messages.append(NewMessage(role=Role.SYSTEM, content=prompt))
        messages.extend(history)
        if content is not None:
            messages.append(
                NewMessage(role=Role.USER, content=content, model_config_id=model_config_id)
            )
        asked = next((each.content for each in messages if each.role is Role.USER), ())
        stored_tools = replace_unstorable_json(tools)
        parameters: dict[str, object] = {
            "owner_id": owner_id,
            "new_chat_id": chat_id,
            **title_parameters(title, asked),
            "labels": replace_unstorable_json(labels or {}),
            "server_tools": replace_unstorable_json(server_tools),
            "model_config_id": model_config_id,
            "messages": message_rows(messages),
            "starts_turn": starts_turn,
            "tools": stored_tools,
            "permissions": permissions,
            "expires_in_seconds": expires_in_seconds,
            **file_parameters([*files, *(file for each in history for file in each.files)]),
            "limits": self._limits().of_owner,
            "request_traceparent": tracing.current_traceparent(),
        }
        if not starts_turn:
            result = await self._executor.execute(
                Transition.CREATE, _Q["create"], actor=actor, key=key, **parameters, **NO_CLAIM
            )
            if self._claim_on_send is not None and not result.replayed:
                known = ChatHistory(result.model_messages, stored_tools)
                self._claim_on_send.keep_history(result.chat, known)
            return result
        return await self._executor.execute_claiming(
            Transition.CREATE,
            _Q["create"],
            actor=actor,
            key=key,
            history=lambda *_: ChatHistory((), stored_tools),
            **parameters,
        )

    async def fork(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        from_message_id: int | None = None,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Make a new chat with the history of this one, up to a message, and its tools. It is waiting.

        Title and labels are the chat's unless they are given. The history ends before a message whose
        tool calls have no results yet. Answers that were remembered are left out.

        Raises:
            ChatNotFound, MessageNotFound, ChatFull, StorageFull
        """
        return await self._executor.execute(
            Transition.FORK,
            _Q["fork"],
            actor=actor,
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            message_id=from_message_id,
            title=None if title is None else replace_unstorable(title),
            labels=None if labels is None else replace_unstorable_json(labels),
            limits=self._limits().of_owner,
        )

    async def send(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        content: Content,
        files: Sequence[File] = (),
        earlier: Sequence[NewMessage] = (),
        tools: Sequence[Mapping[str, Any]] | None = None,
        model_config_id: UUID | None = None,
        busy_behavior: BusyBehavior = BusyBehavior.QUEUE,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
        caller: FencingToken | None = None,
    ) -> TransitionResult:
        """Send a message of the user. The result has a ``queued_message`` if it was queued.

        ``files`` are those that ``content`` refers to. With a ``caller``, it is a message of that chat to a
        descendant.

        ``earlier`` messages, of any role, are stored before it, see ``find_history_fault``. With them it is
        not queued. ``tools`` replace those that the client runs, at once. None: they stay.

        Raises:
            ChatNotFound, ChatArchived, ChatBusy (``busy_behavior`` is reject, or a message with earlier
            ones would be queued), QueueFull, TooManyActiveChats, ChatFull, StorageFull, LeaseLost (of the
            caller)
        """
        files = [*files, *(file for each in earlier for file in each.files)]
        message: dict[str, object] = {
            "owner_id": owner_id,
            "content": replace_unstorable_json(content),
            "first_words": first_words(content),
            **file_parameters(files),
            "model_config_id": model_config_id,
            "limits": self._limits().of_owner,
            "request_traceparent": tracing.current_traceparent(),
        }
        stored_tools = None if tools is None else replace_unstorable_json(tools)
        if self._claim_on_send is not None and caller is None and not earlier:
            sent = await self._claim_on_send.send(
                chat_id,
                tools=stored_tools,
                **message,
                **actor_arguments(actor, owner_id),
                **key_arguments(key),
            )
            if sent is not None:
                return sent
        return await self._executor.execute(
            Transition.SEND,
            _Q["send"],
            actor=actor,
            key=key,
            chat_id=chat_id,
            **message,
            **caller_arguments(caller),
            earlier=message_rows(earlier),
            tools=stored_tools,
            busy_behavior=busy_behavior.value,
            words=CANCELLED,
            max_queued=self._limits().max_queued_messages or None,
        )

    async def retry(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Run a failed turn again, without a new message.

        Raises:
            ChatNotFound, ChatArchived, NothingToRetry, TooManyActiveChats
        """
        return await self._executor.execute_claiming(
            Transition.RETRY,
            _Q["retry"],
            actor=actor,
            key=key,
            history=lambda known, _: known,
            chat_id=chat_id,
            owner_id=owner_id,
            limits=self._limits().of_owner,
            request_traceparent=tracing.current_traceparent(),
        )

    async def describe(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        permissions: Mapping[str, Any] | None = None,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Change title, labels or permissions, in any status."""
        return await self._executor.execute(
            Transition.DESCRIBE,
            _Q["describe"],
            actor=actor,
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            **description(title, labels, permissions),
        )
