"""A client of chatd for Python: async, typed, and patient.

::

    async with Client("http://127.0.0.1:8080") as client:
        chat = await client.chats.create("Why is the sky blue?")
        transcript = Transcript()
        async with client.follow(chat["id"]) as events:
            async for event in events:
                transcript.apply(event)
                if transcript.at_rest:
                    break
        print(text_of(transcript.messages[-1]["content"]))

What it takes care of: a stream goes on, from exactly where it was, when the wire is cut or the server
is killed and started again; a request whose answer was lost is sent again under the same
``Idempotency-Key``, so that it is done once; what the server refuses is an exception with its
``code``. Answers are dictionaries as they came, with their keys known to type checkers.

The rooms downstairs are not used here, nor anything but httpx2, anyio and typing_extensions: a product
that talks to chatd pays for no daemon.
"""

from chatd.client.client import Client
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
    ActionRequired,
    ChatChanged,
    ChatDeleted,
    ChatListEvent,
    ChatListSnapshot,
    ChatUpdated,
    Event,
    HistoryReset,
    MessagePart,
    MessageStored,
    PreviewReset,
    QueueChanged,
    RetryScheduled,
    Snapshot,
    StatusChanged,
    StreamReset,
    TurnFailed,
    UnknownEvent,
)
from chatd.client.transcript import Transcript
from chatd.client.types import (
    IDLE_STATUSES,
    Chat,
    Explanation,
    Message,
    Model,
    Part,
    QueuedMessage,
    SendMessageResult,
    Tool,
    ToolResult,
    text_of,
)

__all__ = [
    "IDLE_STATUSES",
    "ActionRequired",
    "Chat",
    "ChatChanged",
    "ChatDeleted",
    "ChatListEvent",
    "ChatListSnapshot",
    "ChatUpdated",
    "ChatdHTTPError",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectFailed",
    "Event",
    "Explanation",
    "Forbidden",
    "HistoryReset",
    "InvalidRequest",
    "Message",
    "MessagePart",
    "MessageStored",
    "Model",
    "NotFound",
    "Part",
    "PreviewReset",
    "QueueChanged",
    "QueuedMessage",
    "RetryScheduled",
    "SendMessageResult",
    "ServerError",
    "Snapshot",
    "StatusChanged",
    "StreamReset",
    "TooManyRequests",
    "Tool",
    "ToolResult",
    "Transcript",
    "TurnFailed",
    "Unauthorized",
    "UnexpectedResponse",
    "UnknownEvent",
    "text_of",
]
