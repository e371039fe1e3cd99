"""Free slots of this process's worker, as the stores of callers use them.

A statement that makes a chat pending may claim it as well, if the worker of the same process has a free
slot and no chat waits for it. The worker decides that, before the statement is sent.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from uuid import UUID

from chatd.store.claims import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A free slot of the worker, reserved for one chat."""

    models: tuple[UUID, ...]
    """Ids of the models that the worker can call."""
    advance: bool
    """The claim advances the round that new chats come after, as a claim of the line would."""
    start: Callable[[Claim], None]
    """Called with the claim once it is committed: starts the task of the chat."""


@contextmanager
def _no_slot(_: UUID | None) -> Iterator[Slot | None]:
    yield None


class SlotSource:
    """Source of slots, which the worker replaces. A process without a worker has none."""

    def __init__(self) -> None:
        self.reserve: Callable[[UUID | None], AbstractContextManager[Slot | None]] = _no_slot
        """Reserve a slot for a chat (None: a new one) as long as the context lasts, if one is free."""
