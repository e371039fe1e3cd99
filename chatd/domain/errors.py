"""One tree of errors. The class docstring is the default message; the error carries the evidence."""

from typing import Any
from uuid import UUID


class ChatdError(Exception):
    """Something chatd knows how to name went wrong."""

    def __init__(self, message: str | None = None, **context: Any) -> None:
        self.context = context
        super().__init__(message or (self.__doc__ or "").strip())


class Refused(ChatdError):
    """The move is not legal here; nothing was changed."""

    code = "refused"


class ChatNotFound(Refused):
    """There is no such chat."""

    code = "chat_not_found"

    def __init__(self, chat_id: UUID) -> None:
        super().__init__(f"There is no chat {chat_id}.", chat_id=chat_id)


class ChatBusy(Refused):
    """The chat is busy."""

    code = "chat_busy"


class ChatArchived(Refused):
    """The chat is archived; unarchive it first."""

    code = "chat_archived"


class QueueFull(Refused):
    """The chat's queue is full (worker.max_queued_messages)."""

    code = "queue_full"


class MessageNotFound(Refused):
    """There is no such message in this chat's history."""

    code = "message_not_found"


class NotAUserMessage(Refused):
    """Only a user's message can be edited."""

    code = "not_a_user_message"


class QueuedMessageNotFound(Refused):
    """There is no such message in this chat's queue; it may have moved to the history already."""

    code = "queued_message_not_found"


class NothingToRetry(Refused):
    """The chat's last turn did not fail, so there is nothing to retry."""

    code = "nothing_to_retry"


class IdempotencyKeyReused(Refused):
    """This Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"


class ChatTreeBusy(Refused):
    """A chat of this family is busy, so none of it was archived."""

    code = "chat_tree_busy"


class NoActionRequired(Refused):
    """The chat is not waiting for tool results."""

    code = "no_action_required"


class ToolCallUnknown(Refused):
    """There is a result for a call that is not open, or there are two for one call."""

    code = "tool_call_unknown"


class ToolResultsMissing(Refused):
    """Some open calls have no result; all must be answered at once."""

    code = "tool_results_missing"


class ModelNotFound(Refused):
    """There is no such model."""

    code = "model_not_found"


class TooManyActiveChats(Refused):
    """Too many of this owner's chats are in flight (limits.max_chats_in_flight)."""

    code = "too_many_active_chats"


class TokenNotFound(ChatdError):
    """There is no such token."""

    def __init__(self, token_id: UUID) -> None:
        super().__init__(f"There is no token {token_id}.", token_id=token_id)


class LeaseLost(ChatdError):
    """The chat is no longer ours: its epoch moved on. Nothing was written."""


class DatabaseUnavailable(ChatdError):
    """The database cannot be reached just now."""


class DatabaseAccessDenied(ChatdError):
    """The database does not let chatd in; waiting would not help."""


class SchemaMismatch(ChatdError):
    """The database's schema does not fit this chatd."""
