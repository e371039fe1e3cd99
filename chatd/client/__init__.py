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
    Forbidden,
    Invalid,
    NotChatd,
    NotFound,
    TooMany,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from chatd.client.events import (
    ActionRequired,
    ChatDescribed,
    ChatMoved,
    ChatsSnapshot,
    Deleted,
    Event,
    HistoryReset,
    ListEvent,
    MessagePart,
    MessageStored,
    PreviewReset,
    QueueChanged,
    Reset,
    Retrying,
    Snapshot,
    StatusChanged,
    TurnFailed,
    Unknown,
)
from chatd.client.shapes import (
    AT_REST,
    Chat,
    Explanation,
    Message,
    Model,
    Part,
    QueuedMessage,
    Sent,
    Tool,
    ToolResult,
    text_of,
)
from chatd.client.transcript import Transcript

__all__ = [
    "AT_REST",
    "ActionRequired",
    "Chat",
    "ChatDescribed",
    "ChatMoved",
    "ChatdHTTPError",
    "ChatsSnapshot",
    "Client",
    "ClientError",
    "Conflict",
    "Deleted",
    "Event",
    "Explanation",
    "Forbidden",
    "HistoryReset",
    "Invalid",
    "ListEvent",
    "Message",
    "MessagePart",
    "MessageStored",
    "Model",
    "NotChatd",
    "NotFound",
    "Part",
    "PreviewReset",
    "QueueChanged",
    "QueuedMessage",
    "Reset",
    "Retrying",
    "Sent",
    "Snapshot",
    "StatusChanged",
    "TooMany",
    "Tool",
    "ToolResult",
    "Transcript",
    "TurnFailed",
    "Unauthorized",
    "Unavailable",
    "Unknown",
    "Unreachable",
    "text_of",
]
