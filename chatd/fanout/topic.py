"""What the hub is made of: a step's preview, a viewer's place, and the topic that joins them."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import anyio

from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Part


class Preview:
    """The parts of one running step. They are numbered through the epoch; the first is ``base + 1``."""

    __slots__ = ("base", "epoch", "is_local", "parts")

    def __init__(self, epoch: int, base: int, *, is_local: bool) -> None:
        self.epoch = epoch
        self.base = base
        self.is_local = is_local
        """Whether the step runs in this process, so that no parts are read from the database."""
        self.parts: list[Part] = []

    @property
    def last_part(self) -> int:
        return self.base + len(self.parts)

    def parts_after(self, part_number: int) -> Sequence[Part]:
        return self.parts[max(part_number - self.base, 0) :]


class Subscription:
    """One viewer's place in a topic: the journal rows that wait for it, and a wake-up."""

    def __init__(self, topic: "Topic", *, max_entries: int) -> None:
        self.topic = topic
        self._max_entries = max_entries
        self._entries: list[JournalEntry] = []
        self._woken = anyio.Event()
        self.disconnected = False
        self.overflowed = False
        """Whether it was let go because too much waited for it."""

    @property
    def deleted(self) -> bool:
        """Whether the chat was deleted."""
        return self.topic.deleted

    @property
    def closed(self) -> bool:
        """Whether its stream ends: it was let go, or the chat is gone."""
        return self.disconnected or self.topic.deleted

    def deliver(self, entries: Iterable[JournalEntry]) -> None:
        if not self.disconnected:  # who was let go may never look again: nothing is kept for it
            self._entries.extend(entries)
        if len(self._entries) > self._max_entries:
            self.disconnected = self.overflowed = True
            self._entries.clear()
        self._woken.set()

    def take(self) -> Sequence[JournalEntry]:
        """The journal rows that came since the last call."""
        self._woken = anyio.Event()
        taken, self._entries = self._entries, []
        return taken

    def wake(self) -> None:
        self._woken.set()

    def disconnect(self) -> None:
        """The viewer is gone: its stream ends."""
        self.disconnected = True
        self._woken.set()

    async def wait(self) -> None:
        """Return when there may be something new."""
        await self._woken.wait()


class Topic:
    """One chat: how far its journal was fed, its running step, and its viewers."""

    __slots__ = (
        "chat_id",
        "deleted",
        "delivered",
        "latest_announced",
        "latest_known",
        "preview",
        "subscriptions",
    )

    def __init__(self, chat_id: UUID) -> None:
        self.chat_id = chat_id
        self.delivered: Cursor | None = None
        """Up to here everything was put to the viewers; None until the first has read a snapshot."""
        self.latest_known = 0
        """The newest version that is known of."""
        self.latest_announced = 0
        """The newest version that was told of, by this process or by others."""
        self.preview: Preview | None = None
        self.subscriptions: set[Subscription] = set()
        self.deleted = False

    @property
    def is_stale(self) -> bool:
        return self.delivered is not None and self.latest_known > self.delivered.version

    @property
    def is_local(self) -> bool:
        """Whether the running step is one of this process, as far as the journal was fed."""
        preview, fed = self.preview, self.delivered
        return (
            preview is not None and preview.is_local and (fed is None or preview.epoch >= fed.epoch)
        )

    def deliver(self, entries: Sequence[JournalEntry]) -> None:
        """Put journal rows that follow on what was fed."""
        for subscription in self.subscriptions:
            subscription.deliver(entries)

    def wake(self) -> None:
        for subscription in self.subscriptions:
            subscription.wake()

    def disconnect_all(self) -> None:
        """End the streams of all viewers; each resumes where it was, and the first begins anew."""
        self.delivered = None
        for subscription in self.subscriptions:
            subscription.disconnected = True
        self.wake()
