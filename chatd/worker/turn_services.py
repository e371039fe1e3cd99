"""Dependencies of a turn that no reload replaces."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chatd.domain.chat import Chat
from chatd.domain.message import Content, Message
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.turns import Turns
from chatd.telemetry.metrics import Metrics
from chatd.tools.mcp.servers import McpServers
from chatd.worker.flusher import Flusher


def _offer_to_nobody(*_: object) -> None:
    """Have no titles written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnServices:
    """Dependencies of a turn that no reload replaces."""

    turns: Turns
    chats: Chats
    children: Children
    change_bus: ChangeBus
    hub: ChatHub
    flusher: Flusher
    metrics: Metrics = field(default_factory=Metrics)
    mcp: McpServers = field(default_factory=McpServers)
    jitter: Callable[[], float] = random.random
    offer_title: Callable[[Chat, Sequence[Message], Content], None] = _offer_to_nobody
    """Called with a chat whose turn has finished, what its model was shown, and the answer."""
