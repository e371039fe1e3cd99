"""Chats that this process has just made, so that a stream that begins with one reads nothing.

A client that makes a chat mostly opens its stream next. Its snapshot is what the process has stored a
moment ago. Whatever other processes do to the chat meanwhile, it learns like every open stream: by hints
and polls.

Noting a chat costs 1 us, and it saves the largest statement of a stream. The benchmark ``turns`` watches
it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.message import Message
from chatd.domain.snapshot import ChatSnapshot

_MAX_CHATS: Final = 1024
"""Chats that are known, the oldest out first: most streams are opened within the first second."""
_MAX_AGE_SECONDS: Final = 5.0
"""Time for which a chat is known: no worker has it, so only hints tell what others do to it."""
_MAX_BYTES: Final = 65_536
"""Bytes of the messages of one chat. Larger ones are read."""


class NewChats:
    """Chats that wait for their first message, and have not changed since they were made."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._snapshots: OrderedDict[UUID, tuple[ChatSnapshot, float]] = OrderedDict()

    def note(self, chat: Chat, messages: Sequence[Message]) -> None:
        """Note a chat that was made by a commit of this process, and the messages that people see of it."""
        if chat.status is not Status.WAITING or sum(each.size for each in messages) > _MAX_BYTES:
            return
        self._snapshots[chat.id] = ChatSnapshot(chat, messages, (), ()), self._clock()
        if len(self._snapshots) > _MAX_CHATS:
            self._snapshots.popitem(last=False)

    def forget(self, chat_id: UUID) -> None:
        """Forget a chat, which changes."""
        self._snapshots.pop(chat_id, None)

    def forget_all(self) -> None:
        """Forget all chats, because hints may have been missed."""
        self._snapshots.clear()

    def snapshot(self, chat_id: UUID, *, owner_id: str | None) -> ChatSnapshot | None:
        """Return what a stream of a chat of this owner (None: of any) begins with, if it is known."""
        if (known := self._snapshots.get(chat_id)) is None:
            return None
        snapshot, noted_at = known
        is_old = self._clock() > noted_at + _MAX_AGE_SECONDS
        return None if is_old or owner_id not in {None, snapshot.chat.owner_id} else snapshot
