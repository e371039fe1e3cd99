"""A chat as it is stored: one row, one status, at most one worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from chatd.domain.compaction import CompactionRequest
from chatd.domain.permission import NO_CHAT_PERMISSIONS, ChatPermissions
from chatd.domain.stored_word import StoredWord


class Status(StoredWord):
    """Status of a chat.

    * `waiting`: idle. The next message is the user's.
    * `pending`: it has work and no worker yet.
    * `running`: a worker holds its lease and runs a turn.
    * `interrupting`: a stop was requested. The worker stores the answer so far.
    * `requires_action`: it waits for answers of people, or results of client tools, until a deadline.
    * `parked`: it waits for other chats, which it started, until a deadline.
    * `error`: the last turn failed with `last_error`. A retry or a message continues it.
    """

    WAITING = "waiting"
    PENDING = "pending"
    RUNNING = "running"
    INTERRUPTING = "interrupting"
    REQUIRES_ACTION = "requires_action"
    PARKED = "parked"
    ERROR = "error"


LEASED = frozenset({Status.RUNNING, Status.INTERRUPTING})
"""The statuses in which the lease columns are set."""

IDLE = frozenset({Status.WAITING, Status.ERROR})
"""The statuses in which a chat may be archived."""


class BusyBehavior(StrEnum):
    """Behavior of a message that is sent to a busy chat.

    * `queue`: the message is queued until the turns before it have ended.
    * `interrupt`: the running turn stops and keeps its answer so far. The message is answered next.
    * `reject`: the message is rejected with `chat_busy`.
    """

    QUEUE = "queue"
    INTERRUPT = "interrupt"
    REJECT = "reject"


class TitleSource(StoredWord):
    """The source of a chat's title.

    * `words`: the first words of its first message. The title is empty while there are none.
    * `model`: a model wrote it.
    * `caller`: a caller gave it. Nothing else replaces it.
    """

    WORDS = "words"
    MODEL = "model"
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens, as the model's provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*[getattr(self, kind) + getattr(other, kind) for kind in self.__slots__])

    def by_kind(self) -> Mapping[str, int]:
        """Return the numbers by the names of their fields."""
        return {kind: getattr(self, kind) for kind in self.__slots__}


@dataclass(frozen=True, kw_only=True)  # without slots: ``store.records`` fills its dict at once
class Chat:
    """One row of ``chats``.

    ``epoch`` rises with every claim and fences the worker's writes. ``version`` rises with every
    transition and numbers the journal. ``committed_steps`` rises with every stored step, so that a worker
    whose commit got no response can tell whether it took effect. ``settled_part`` is the number of the
    last live part of this epoch that is settled: stored in a message, or discarded.

    ``server_tools`` are names of servers and tools by kind, see ``ToolChoice``. None: it chose none.

    ``stored_bytes`` is the size of the messages, tools and files that are stored of it.

    ``request_traceparent`` and ``claim_traceparent`` are trace contexts: of the request that asked for
    the pending answer, and of its first claim.
    """

    id: UUID
    owner_id: str
    parent_chat_id: UUID | None
    root_chat_id: UUID
    title: str
    title_by: TitleSource = TitleSource.WORDS
    status: Status
    last_error: str | None
    last_error_detail: Mapping[str, Any] | None
    worker_id: UUID | None
    started_at: datetime | None
    heartbeat_at: datetime | None
    pending_since: datetime | None
    action_deadline: datetime | None
    epoch: int
    version: int
    committed_steps: int
    settled_part: int
    recoveries: int
    attempts: int
    next_attempt_at: datetime | None
    queue_length: int
    archived: bool
    labels: Mapping[str, str]
    last_model_config_id: UUID
    usage: Usage
    stored_bytes: int
    created_at: datetime
    updated_at: datetime
    server_tools: Mapping[str, Sequence[str]] | None = None
    permissions: ChatPermissions = NO_CHAT_PERMISSIONS
    pruned_through: int | None = None
    """The model is shown no old results of tools up to this message. None: it is shown all of them."""
    compaction_request: CompactionRequest | None = None
    """A compaction that was asked for and is still to be done."""
    request_traceparent: str | None = None
    claim_traceparent: str | None = None
    lapsed_step: int | None = None
    """Committed steps when a worker last lost the chat because its lease was over."""
    tools_version: int | None = None
    """The transition that last replaced the tools of its client. None: they are those it was made with."""
    expires_at: datetime | None = None
    """The moment after which it is deleted once it is idle. It is in no list. None: it is kept."""

    @property
    def was_reaped(self) -> bool:
        """True if an earlier worker lost the chat, without progress since."""
        return self.recoveries > 0 or self.lapsed_step == self.committed_steps
