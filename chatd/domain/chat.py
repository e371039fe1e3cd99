"""A chat as it is stored: one row, one status, at most one owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Status(StrEnum):
    """What a chat is, never what it should do next and never how it got there.

    * `waiting`: idle; it is your turn.
    * `pending`: it has work, and waits for a worker to take it.
    * `running`: a worker has it, and works on it.
    * `interrupting`: a stop was asked for; its worker stores what there is.
    * `requires_action`: it waits for the results of tools that you run, until a deadline.
    * `error`: the last turn failed, and `last_error` says why; a retry or a message goes on.
    """

    WAITING = "waiting"
    PENDING = "pending"
    RUNNING = "running"
    INTERRUPTING = "interrupting"
    REQUIRES_ACTION = "requires_action"
    ERROR = "error"


LEASED = frozenset({Status.RUNNING, Status.INTERRUPTING})
"""The statuses in which the owner columns are set."""

IDLE = frozenset({Status.WAITING, Status.ERROR})
"""The statuses in which a chat may be archived."""


class BusyBehavior(StrEnum):
    """What a message does when the chat is busy.

    * `queue`: it waits in the queue until the turns before it are over.
    * `interrupt`: what is running stops and keeps what was said; this message is answered next.
    * `reject`: it is refused, with `chat_busy`.
    """

    QUEUE = "queue"
    INTERRUPT = "interrupt"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the model's provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """One row of ``chats``.

    ``epoch`` rises with every claim and fences the owner's writes; ``version`` rises with every
    move and is the cursor of the journal; ``committed_steps`` rises with every step that is stored, so that
    an owner whose commit was cut off can tell whether it took effect; ``settled_part`` is the number
    of the last streamed part of this epoch that is settled (stored in a message, or thrown away).
    ``request_traceparent`` and ``claim_traceparent`` name traces, if somebody traces: of the request that asked for the
    answer that is due, and of the claim by its first owner.
    ``tools`` are those that the chat's client runs: objects of ``name``, ``description`` and
    ``key_arguments``, a JSON schema.
    """

    id: UUID
    owner_id: str
    parent_chat_id: UUID | None
    root_chat_id: UUID
    title: str
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
    tools: Sequence[Mapping[str, Any]]
    last_model_config_id: UUID
    usage: Usage
    created_at: datetime
    updated_at: datetime
    request_traceparent: str | None = None
    claim_traceparent: str | None = None
