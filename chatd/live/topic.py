"""What the hub is made of: a step's preview, a viewer's place, and the topic that joins them."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import anyio

from chatd.domain.event import Cursor, JournalEntry
from chatd.domain.message import Part


class Preview:
    """The parts of one running step. They are numbered through the epoch; the first is ``base + 1``."""

    __slots__ = ("base", "epoch", "local", "parts")

    def __init__(self, epoch: int, base: int, *, local: bool) -> None:
        self.epoch = epoch
        self.base = base
        self.local = local
        """Whether the step runs in this process, so that no parts are read from the database."""
        self.parts: list[Part] = []

    @property
    def last(self) -> int:
        return self.base + len(self.parts)

    def after(self, number: int) -> Sequence[Part]:
        return self.parts[max(number - self.base, 0) :]


class Subscription:
    """One viewer's place in a topic: the journal rows that wait for it, and a wake-up."""

    def __init__(self, topic: "Topic", *, most: int) -> None:
        self.topic = topic
        self._most = most
        self._entries: list[JournalEntry] = []
        self._woken = anyio.Event()
        self.let_go = False
        self.slow = False
        """Whether it was let go because too much waited for it."""

    @property
    def gone(self) -> bool:
        """Whether the chat was deleted."""
        return self.topic.gone

    @property
    def over(self) -> bool:
        """Whether its stream ends: it was let go, or the chat is gone."""
        return self.let_go or self.topic.gone

    def put(self, entries: Iterable[JournalEntry]) -> None:
        if not self.let_go:  # who was let go may never look again: nothing is kept for it
            self._entries.extend(entries)
        if len(self._entries) > self._most:
            self.let_go = self.slow = True
            self._entries.clear()
        self._woken.set()

    def take(self) -> Sequence[JournalEntry]:
        """The journal rows that came since the last call."""
        self._woken = anyio.Event()
        taken, self._entries = self._entries, []
        return taken

    def wake(self) -> None:
        self._woken.set()

    def leave(self) -> None:
        """The viewer is gone: its stream ends."""
        self.let_go = True
        self._woken.set()

    async def wait(self) -> None:
        """Return when there may be something new."""
        await self._woken.wait()


class Topic:
    """One chat: how far its journal was fed, its running step, and its viewers."""

    __slots__ = ("chat_id", "fed", "gone", "hinted", "preview", "subscriptions", "wanted")

    def __init__(self, chat_id: UUID) -> None:
        self.chat_id = chat_id
        self.fed: Cursor | None = None
        """Up to here everything was put to the viewers; None until the first has read a snapshot."""
        self.wanted = 0
        """The newest version that is known of."""
        self.hinted = 0
        """The newest version that was told of, by this process or by others."""
        self.preview: Preview | None = None
        self.subscriptions: set[Subscription] = set()
        self.gone = False

    @property
    def behind(self) -> bool:
        return self.fed is not None and self.wanted > self.fed.version

    @property
    def streams_here(self) -> bool:
        """Whether the running step is one of this process, as far as the journal was fed."""
        preview, fed = self.preview, self.fed
        return preview is not None and preview.local and (fed is None or preview.epoch >= fed.epoch)

    def put(self, entries: Sequence[JournalEntry]) -> None:
        """Put journal rows that follow on what was fed."""
        for subscription in self.subscriptions:
            subscription.put(entries)

    def wake(self) -> None:
        for subscription in self.subscriptions:
            subscription.wake()

    def cut(self) -> None:
        """End the streams of all viewers; each resumes where it was, and the first begins anew."""
        self.fed = None
        for subscription in self.subscriptions:
            subscription.let_go = True
        self.wake()
