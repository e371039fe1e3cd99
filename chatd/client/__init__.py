"""Client of chatd for Python: async and typed, with resumed streams and safe retries.

Example::

    async with Client("http://127.0.0.1:8080") as client:
        chat = await client.chats.create("Why is the sky blue?")
        transcript = Transcript()
        async with client.follow(chat["id"]) as events:
            async for event in events:
                transcript.apply(event)
                if transcript.idle:
                    break
        print(text_of(transcript.messages[-1]["content"]))

* A stream continues where it was when the connection breaks or the server restarts.
* A request whose response was lost is repeated with the same ``Idempotency-Key`` and executed once.
* A rejection by the server is an exception with its ``code``.
* Responses are dictionaries, as they came. ``types`` and ``events`` are generated from the API's document.

The package imports nothing else of chatd, and needs httpx2, anyio and typing_extensions only.
"""

from chatd.client.chats import FoundChat
from chatd.client.client import Client
from chatd.client.content import text_of
from chatd.client.errors import (
    ChatdHTTPError,
    ClientError,
    Conflict,
    ConnectFailed,
    Forbidden,
    InvalidRequest,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
    UnexpectedResponse,
)
from chatd.client.events import (
    ActionAnswered,
    ActionRequired,
    ChatChanged,
    ChatDeleted,
    ChatEvent,
    ChatListEvent,
    ChatListSnapshot,
    ChatUpdated,
    HistoryCompacted,
    HistoryReset,
    MessagePart,
    MessageStored,
    NoticesGiven,
    PreviewReset,
    QueueChanged,
    RetryScheduled,
    Snapshot,
    StatusChanged,
    StreamReset,
    ToolCallsChanged,
    TurnFailed,
)
from chatd.client.running_calls import RunningCall
from chatd.client.stream_event import StreamEvent, UnknownEvent
from chatd.client.tool_calls import ToolCall, ToolFunction
from chatd.client.tools import ClientTools
from chatd.client.transcript import IDLE_STATUSES, Transcript
from chatd.client.types import (
    Action,
    AppendMessagesResult,
    CallDecision,
    Chat,
    Content,
    Explanation,
    JournalEntry,
    Message,
    MessageInput,
    Model,
    Part,
    PartDelta,
    ProcessStatus,
    QueuedMessage,
    SendMessageResult,
    Tool,
    ToolApproval,
    ToolCallRecord,
    ToolInput,
    ToolResultInput,
    ToolRule,
)

__all__ = [
    "IDLE_STATUSES",
    "Action",
    "ActionAnswered",
    "ActionRequired",
    "AppendMessagesResult",
    "CallDecision",
    "Chat",
    "ChatChanged",
    "ChatDeleted",
    "ChatEvent",
    "ChatListEvent",
    "ChatListSnapshot",
    "ChatUpdated",
    "ChatdHTTPError",
    "Client",
    "ClientError",
    "ClientTools",
    "Conflict",
    "ConnectFailed",
    "Content",
    "Explanation",
    "Forbidden",
    "FoundChat",
    "HistoryCompacted",
    "HistoryReset",
    "InvalidRequest",
    "JournalEntry",
    "Message",
    "MessageInput",
    "MessagePart",
    "MessageStored",
    "Model",
    "NotFound",
    "NoticesGiven",
    "Part",
    "PartDelta",
    "PreviewReset",
    "ProcessStatus",
    "QueueChanged",
    "QueuedMessage",
    "RetryScheduled",
    "RunningCall",
    "SendMessageResult",
    "ServerError",
    "Snapshot",
    "StatusChanged",
    "StreamEvent",
    "StreamReset",
    "TooManyRequests",
    "Tool",
    "ToolApproval",
    "ToolCall",
    "ToolCallRecord",
    "ToolCallsChanged",
    "ToolFunction",
    "ToolInput",
    "ToolResultInput",
    "ToolRule",
    "Transcript",
    "TurnFailed",
    "Unauthorized",
    "UnexpectedResponse",
    "UnknownEvent",
    "text_of",
]
