"""The shapes of what the API takes and gives.

They are plain dictionaries with known keys: JSON as it came, which an editor can complete and a type
checker can check, and to which a newer server may add.
"""

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

Status: TypeAlias = Literal[
    "waiting", "pending", "running", "interrupting", "requires_action", "error"
]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
BusyBehavior: TypeAlias = Literal["queue", "interrupt", "reject"]

IDLE_STATUSES: frozenset[Status] = frozenset({"waiting", "error"})
"""Statuses in which nothing happens until somebody says something."""


class Part(TypedDict):
    """A piece of a message. ``type`` says which of the other keys are there."""

    type: Literal["text", "reasoning", "tool-call", "tool-result", "source", "file"]
    text: NotRequired[str]
    tool_call_id: NotRequired[str]
    tool_name: NotRequired[str]
    args: NotRequired[str]
    result: NotRequired[Any]
    is_error: NotRequired[bool]
    media_type: NotRequired[str]
    data: NotRequired[str]
    url: NotRequired[str | None]
    title: NotRequired[str | None]


class PartDelta(Part):
    """A piece of a part that is under way; ``index`` says of which."""

    index: int


Content: TypeAlias = str | list[Part]
"""What one says: words, or parts."""


class Usage(TypedDict):
    """Tokens."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


FailureKind: TypeAlias = Literal[
    "auth",
    "permission",
    "not_found",
    "invalid_request",
    "context_limit",
    "content_filter",
    "quota",
    "rate_limit",
    "overloaded",
    "provider_error",
    "network",
    "stream_idle",
    "timeout",
    "truncated",
    "configuration",
    "step_limit",
    "crash_loop",
    "panic",
]


class FailureDetail(TypedDict):
    """Why a turn failed; ``status_code`` is what the provider answered."""

    kind: FailureKind
    message: str
    provider: str | None
    model: str | None
    status_code: int | None
    retryable: bool
    attempts: int
    at: str


class Chat(TypedDict):
    """A chat. ``last_error`` is None unless the status is ``error``."""

    id: str
    owner_id: str
    parent_chat_id: str | None
    root_chat_id: str
    title: str
    status: Status
    last_error: str | None
    last_error_detail: FailureDetail | None
    action_deadline: str | None
    archived: bool
    labels: dict[str, str]
    model: str | None
    last_model_config_id: str
    version: int
    queue_length: int
    usage: Usage
    created_at: str
    updated_at: str


class Message(TypedDict):
    """A stored message. ``id`` rises within a chat."""

    id: int
    chat_id: str
    role: Role
    content: list[Part]
    model: str | None
    usage: Usage | None
    finish_reason: str | None
    created_at: str


class QueuedMessage(TypedDict):
    """A message that waits for the running turn to end."""

    id: int
    chat_id: str
    content: list[Part]
    model: str | None
    created_at: str


class SendMessageResult(TypedDict):
    """What became of a message: it is in the history, or it waits in the queue."""

    queued: bool
    message: Message | None
    queued_message: QueuedMessage | None
    chat: Chat


class JournalEntry(TypedDict):
    """A move that was made on a chat."""

    version: int
    created_at: str
    transition: str
    status: Status
    epoch: int
    worker_id: str | None
    data: dict[str, Any]


class Model(TypedDict):
    """A model that a chat may ask for."""

    id: str
    name: str
    provider: str
    context_limit: int | None
    default: bool


class Tool(TypedDict):
    """A tool that the client runs; ``key_arguments`` is a JSON schema of type object."""

    name: str
    description: NotRequired[str]
    parameters: dict[str, Any]


class ToolResult(TypedDict):
    """What a tool of the client's gave."""

    tool_call_id: str
    result: Any
    is_error: NotRequired[bool]


class ToolCall(TypedDict):
    """A call that waits for its result; ``args`` is JSON, as the model wrote it."""

    tool_call_id: str
    tool_name: str
    args: str


ReasonCode: TypeAlias = Literal[
    "idle",
    "archived",
    "no_worker",
    "no_free_slots",
    "chats_ahead",
    "claim_expected",
    "lease_expired",
    "stopping",
    "backing_off",
    "in_stage",
    "between_steps",
    "activity_unknown",
    "awaiting_tool_results",
    "failed",
    "recovered",
    "messages_queued",
]


class Reason(TypedDict):
    """A reason why a chat is where it is: ``code`` for programs, ``text`` for people."""

    code: ReasonCode
    text: str


class WorkerInfo(TypedDict):
    """The worker that has a chat. All but its id is None when it is no longer listed."""

    worker_id: str
    host: str | None
    pid: int | None
    version: str | None
    started_at: str | None
    last_heartbeat_at: str | None
    last_heartbeat_seconds_ago: float | None


class Activity(TypedDict):
    """What the worker said at the chat's last beat; ``deadline_at`` is when it is cancelled without progress."""

    stage: str | None
    started_at: str | None
    deadline_at: str | None
    reported_seconds_ago: float | None


class Retry(TypedDict):
    """A step that failed, and is tried again."""

    attempts: int
    next_attempt_at: str | None
    next_attempt_in_seconds: float | None


class WorkerCapacity(TypedDict):
    """The processes that work on chats, of all replicas; ``free_slots`` is how many more chats they take."""

    alive: int
    with_free_slots: int
    free_slots: int
    last_heartbeat_at: str | None


class Explanation(TypedDict):
    """Why a chat is where it is: the reason to look at first comes first in ``reasons``.

    What does not apply to a chat is None. All times are the database's.
    """

    chat_id: str
    at: str
    status: Status
    version: int
    epoch: int
    reasons: list[Reason]
    worker: WorkerInfo | None
    lease_left_seconds: float | None
    activity: Activity | None
    retry: Retry | None
    last_failure: FailureDetail | None
    recoveries: int
    queue_length: int
    pending_since: str | None
    chats_ahead: int | None
    action_deadline: str | None
    workers: WorkerCapacity


def text_of(content: list[Part]) -> str:
    """The text a person reads: all text parts, joined."""
    return "".join(part.get("text", "") for part in content if part["type"] == "text")


class Actor(TypedDict):
    """An actor of the supervision tree; ``seconds`` is how long it has been in its state."""

    name: str
    state: str
    seconds: float
    restarts: int
    budget_left: int
    last_error: str | None
    note: str


class LeasedChat(TypedDict):
    """A chat that a process works on, and where its turn is."""

    chat_id: str
    status: Status
    epoch: int
    committed_steps: int
    leased_seconds: float
    stage: str | None
    stage_seconds: float
    deadline_seconds: float | None
    last_progress: str | None
    seconds_since_progress: float
    lease_left_seconds: float


class Pool(TypedDict):
    """Connections to the database."""

    size: int
    in_use: int
    waiting: int


class DatabaseStats(TypedDict):
    """What the database has, of all processes."""

    seconds_ago: float
    chats: dict[Status, int]
    oldest_pending_seconds: float | None
    workers: int


class Versions(TypedDict):
    """Of chatd and of what it runs on."""

    chatd: str
    python: str
    postgresql: str | None


class ProcessStatus(TypedDict):
    """How one process is. ``database_stats`` is None until its database has answered."""

    worker_id: str
    host: str
    pid: int
    phase: Literal["starting", "serving", "stopping"]
    started_at: str
    uptime_seconds: float
    versions: Versions
    actors: list[Actor]
    chats: list[LeasedChat]
    free_slots: int
    streams: int
    pool: Pool
    loop_lag_seconds: float
    database_stats: DatabaseStats | None
