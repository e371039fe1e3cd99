"""Free slots of this process's worker, as the stores of callers use them.

A statement that makes a chat pending may claim it as well, if the worker of the same process has a free
slot and no chat waits for it. The worker decides that, before the statement is sent.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final
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


_NOTHING: Final = nullcontext()


class Reservation:
    """A context that has begun, at whose end the slot is free again, or its chat has a task."""

    __slots__ = ("_statement", "slot")

    def __init__(
        self, slot: Slot | None = None, statement: AbstractContextManager[object] = _NOTHING
    ) -> None:
        self.slot = slot
        """None: there is no free slot."""
        self._statement = statement

    def __enter__(self) -> Slot | None:
        return self.slot

    def __exit__(self, *error: Any) -> None:
        self._statement.__exit__(*error)


NO_SLOT: Final = Reservation()


class SlotSource:
    """Source of slots, which the worker replaces. A process without a worker has none."""

    def __init__(self) -> None:
        self.reserve: Callable[[UUID | None], Reservation] = lambda _: NO_SLOT
        """Reserve a slot for a chat (None: a new one) until the end of the context, if one is free."""
