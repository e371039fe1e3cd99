"""The reader of one turn: a snapshot and the events of a stream, as items. It does no I/O.

Live parts are a preview. Once the message of a step is stored, whatever was not sent of it yet follows
from there, and what contradicts it is voided. So parts that are lost, doubled or late heal by themselves,
and the items that are left add up to the stored messages, byte for byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatd.adapters.turn_items import TurnItem
from chatd.domain.message import Message
from chatd.domain.snapshot import ChatSnapshot
from chatd.domain.stream_events import StreamEvent


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn, by the user's message that it answers.

    That is one of the history (``message_id``), or one that may still wait in the queue (``queued_id``).
    """

    message_id: int | None = None
    queued_id: int | None = None


class TurnItemReader:
    """Reader of a turn's items. ``snapshot`` comes first, then the events that follow on it."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.ended = False
        """True once the turn ended, or waits for an action. Nothing more is returned then."""

    def read_snapshot(self, snapshot: ChatSnapshot) -> Sequence[TurnItem]:
        """Return the items of a turn so far. ``snapshot`` has all its messages, and the queue."""
        raise NotImplementedError

    def read_event(self, event: StreamEvent) -> Sequence[TurnItem]:
        """Return the items that an event adds."""
        raise NotImplementedError


def read_history(messages: Sequence[Message]) -> Sequence[TurnItem]:
    """Return the items of a turn that is over, of its stored messages, as if it was followed live."""
    raise NotImplementedError
