"""The tree of errors. A class docstring is the default message; ``context`` holds the facts."""

from typing import Any
from uuid import UUID


class ChatdError(Exception):
    """Base class of chatd's own errors."""

    def __init__(self, message: str | None = None, **context: Any) -> None:
        self.context = context
        super().__init__(message or self.description())

    @classmethod
    def description(cls) -> str:
        """Return the class docstring: the default message, and the text of the API's documentation."""
        return (cls.__doc__ or "").strip()


class SpawnRefused(ChatdError):
    """The chat may not start another one. ``context`` has the ``reason``, a ``SpawnRefusal``."""


class Refused(ChatdError):
    """The request is not legal in the chat's state. Nothing was changed."""

    code = "refused"


class ChatNotFound(Refused):
    """There is no chat with this id."""

    code = "chat_not_found"

    def __init__(self, chat_id: UUID) -> None:
        super().__init__(f"There is no chat {chat_id}.", chat_id=chat_id)


class ChatExists(Refused):
    """You have a chat with this id already; nothing was changed."""

    code = "chat_exists"


class ChatGone(Refused):
    """The chat with this id was deleted, and is not created again."""

    code = "chat_gone"


class WorkerNotFound(Refused):
    """There is no worker with this id, or it has ended."""

    code = "worker_not_found"

    def __init__(self, worker_id: UUID) -> None:
        super().__init__(f"There is no worker {worker_id}.", worker_id=worker_id)


class ChatBusy(Refused):
    """The chat is busy; this operation requires an idle chat."""

    code = "chat_busy"


class ChatArchived(Refused):
    """The chat is archived; unarchive it first."""

    code = "chat_archived"


class QueueFull(Refused):
    """The chat's queue is full (worker.max_queued_messages)."""

    code = "queue_full"


class MessageNotFound(Refused):
    """The chat's history has no message with this id."""

    code = "message_not_found"


class NotAUserMessage(Refused):
    """Only a user's message can be edited."""

    code = "not_a_user_message"


class QueuedMessageNotFound(Refused):
    """The chat's queue has no message with this id; it may have moved to the history already."""

    code = "queued_message_not_found"


class NothingToRetry(Refused):
    """The chat's last turn did not fail, so there is nothing to retry."""

    code = "nothing_to_retry"


class NothingToCompact(Refused):
    """The chat has no messages since its last summary, so there is nothing to compact."""

    code = "nothing_to_compact"


class IdempotencyKeyReused(Refused):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"


class ChatTreeBusy(Refused):
    """A chat of this tree is busy, so none of them was archived."""

    code = "chat_tree_busy"


class NoActionRequired(Refused):
    """The chat is not waiting for this answer, or for any."""

    code = "no_action_required"


class AlreadyAnswered(Refused):
    """A call was answered otherwise before; that decision stands."""

    code = "already_answered"


class AnswerMismatch(Refused):
    """An answer is of another kind than the question about the call."""

    code = "answer_mismatch"


class ToolCallUnknown(Refused):
    """There is an answer for a call that is not asked, or there are two for one call."""

    code = "tool_call_unknown"


class ToolResultsMissing(Refused):
    """Some pending calls have no result; all must be sent at once."""

    code = "tool_results_missing"


class FileNotFoundInChat(Refused):
    """The chat has no file with this id."""

    code = "file_not_found"


class ChatFull(Refused):
    """The chat has no space left for this (limits.max_chat_bytes)."""

    code = "chat_full"


class StorageFull(Refused):
    """The owner has no space left for this (limits.max_owner_bytes)."""

    code = "storage_full"


class ModelNotFound(Refused):
    """No model of this name is configured."""

    code = "model_not_found"


class TooManyActiveChats(Refused):
    """Too many of the owner's chats are active (limits.max_active_chats)."""

    code = "too_many_active_chats"


class TooManySearches(Refused):
    """Too many of the owner's searches run at once (limits.max_searches)."""

    code = "too_many_searches"


class SearchUnavailable(Refused):
    """The search took too long (database.search_timeout_seconds), or too many of all owners run at once."""

    code = "search_unavailable"


class StatusUnknown(Refused):
    """A newer version of chatd stored the chat's status, and this process does not know it; try again."""

    code = "status_unknown"


class TokenNotFound(ChatdError):
    """There is no such token."""

    def __init__(self, token_id: UUID) -> None:
        super().__init__(f"There is no token {token_id}.", token_id=token_id)


class LeaseLost(ChatdError):
    """The worker has lost its lease of the chat, which has a newer epoch. Nothing was written."""


class ChatUnreadable(ChatdError):
    """A chat has data that this process cannot read; an operator finds the reason in its log."""

    code = "chat_unreadable"

    def __init__(self, chat_id: UUID | None) -> None:
        super().__init__(chat_id=chat_id)


class DatabaseUnavailable(ChatdError):
    """The database cannot be reached just now."""


class DatabaseAccessDenied(DatabaseUnavailable):
    """The database denies access until an operator changes that."""


class DatabasePermissionDenied(DatabaseAccessDenied):
    """The server refuses the login or a privilege; an operator may be changing that on the server."""


class DatabaseBusy(DatabaseUnavailable):
    """The database gave the statement up; it may be tried again."""


class DatabaseUnsuitable(ChatdError):
    """The database cannot be used by chatd. Waiting does not help."""


class SchemaMismatch(ChatdError):
    """The database's schema does not fit this version of chatd."""
