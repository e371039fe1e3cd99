"""The hub: one topic for each chat that is watched or worked here."""

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from chatd.domain.event import Cursor, JournalEntry
from chatd.domain.message import Part
from chatd.live.topic import Preview, Subscription, Topic


class Hub:
    """Topics by chat. ``on_behind`` is called when some topic has to be read from the database."""

    def __init__(self, *, subscriber_buffer: int = 1024) -> None:
        self._buffer = subscriber_buffer
        self._topics: dict[UUID, Topic] = {}
        self._doubted: set[UUID] = set()
        self.on_behind: Callable[[], None] = lambda: None
        self.on_drain: Callable[[], None] = lambda: None
        """Called when all streams are to end, for those that are not of one chat."""
        self.draining = False

    # -- viewers ------------------------------------------------------------------------------

    def subscribe(self, chat_id: UUID) -> Subscription:
        """From now on, everything that is fed waits for this viewer too."""
        topic = self._topic(chat_id)
        subscription = Subscription(topic, most=self._buffer)
        topic.subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        topic = subscription.topic
        topic.subscriptions.discard(subscription)
        if not topic.subscriptions:
            topic.fed = None
            if topic.preview is not None and not topic.preview.local:
                topic.preview = None
        self._tidy(topic)

    def begin(
        self, subscription: Subscription, cursor: Cursor, parts_done: int, parts: Sequence[Part]
    ) -> None:
        """A viewer has read the chat as of ``cursor``, with the parts of its running step."""
        topic = subscription.topic
        if topic.fed is None:
            topic.fed = cursor
        elif topic.fed.version > cursor.version:
            # What came between was not put to this viewer: put it to all again, the others skip it.
            topic.wanted = max(topic.wanted, topic.fed.version)
            topic.fed = cursor
        topic.wanted = max(topic.wanted, cursor.version)
        self._adopt(topic, cursor.epoch, parts_done, 1 + parts_done, parts)
        if topic.behind:
            self._doubt(topic)

    def drain(self) -> None:
        """End all streams."""
        self.draining = True
        for topic in self._topics.values():
            topic.wake()
        self.on_drain()

    @property
    def viewers(self) -> int:
        return sum(len(topic.subscriptions) for topic in self._topics.values())

    # -- what happens in this process ---------------------------------------------------------

    def feed(self, entry: JournalEntry) -> None:
        """A move of this process went through."""
        topic = self._topics.get(entry.chat_id)
        if topic is None or not topic.subscriptions:
            return
        topic.wanted = max(topic.wanted, entry.version)
        topic.hinted = max(topic.hinted, entry.version)
        if topic.fed is not None and entry.version == topic.fed.version + 1:
            topic.fed = topic.fed.advanced_past(entry)
            topic.put((entry,))
        elif topic.behind:
            self._doubt(topic)

    def start_step(self, chat_id: UUID, *, epoch: int, base: int) -> Preview:
        """A step of a chat starts here; its parts are numbered from ``base + 1``.

        An owner that was fenced, and does not know it yet, streams into the void.
        """
        topic = self._topic(chat_id)
        preview = Preview(epoch, base, local=True)
        if topic.preview is None or topic.preview.epoch <= epoch:
            topic.preview = preview
        return preview

    def stream(self, chat_id: UUID, preview: Preview, part: Part) -> None:
        """One more part of a step that runs here."""
        preview.parts.append(part)
        topic = self._topics.get(chat_id)
        if topic is not None and topic.preview is preview:
            topic.wake()

    def end_steps(self, chat_id: UUID, *, epoch: int) -> None:
        """The chat is not worked here any more in this epoch; a later one may have begun here."""
        topic = self._topics.get(chat_id)
        if topic is not None and topic.preview is not None and topic.preview.epoch <= epoch:
            topic.preview = None
            self._tidy(topic)

    # -- what happens elsewhere ---------------------------------------------------------------

    def hint(self, chat_id: UUID, version: int | None) -> None:
        """Another process says that a chat has come to ``version``, or streamed parts (None)."""
        topic = self._topics.get(chat_id)
        if topic is None or not topic.subscriptions:
            return
        if version is None:
            if not topic.streams_here:
                self._doubt(topic)
            return
        topic.wanted = max(topic.wanted, version)
        topic.hinted = max(topic.hinted, version)
        if topic.behind:
            self._doubt(topic)

    def unheard_of(self, chat_id: UUID, version: int) -> bool:
        """Whether nobody has told yet that a watched chat has come to this version."""
        topic = self._topics.get(chat_id)
        return topic is not None and topic.hinted < version

    def doubt(self) -> None:
        """Read every watched topic once."""
        for topic in self._topics.values():
            if topic.subscriptions:
                self._doubted.add(topic.chat_id)
        if self._doubted:
            self.on_behind()

    def doubted(self, *, everything: bool) -> list[tuple[UUID, Cursor]]:
        """The topics to read now, and from where; parts of a step that runs here are not read."""
        asked = self._topics.keys() if everything else self._doubted & self._topics.keys()
        self._doubted = set()
        places = []
        for chat_id in asked:
            topic = self._topics[chat_id]
            if topic.fed is None or topic.gone:
                continue
            preview, fed = topic.preview, topic.fed
            topic.wanted = fed.version  # a hint may have been wrong; what is read now is the truth
            if preview is None:
                places.append((chat_id, Cursor(fed.version, fed.epoch, 0)))
            elif preview.local:
                places.append((chat_id, Cursor(fed.version, preview.epoch, _NO_PARTS)))
            else:
                places.append((chat_id, Cursor(fed.version, preview.epoch, preview.last)))
        return places

    def catch_up(
        self,
        chat_id: UUID,
        entries: Sequence[JournalEntry],
        *,
        read_from: int,
        version: int,
        epoch: int,
        parts_done: int,
        batches: Iterable[tuple[int, Sequence[Part]]],
    ) -> None:
        """What was read from the database: journal rows, then parts of the running step."""
        topic = self._topics.get(chat_id)
        if topic is None or topic.fed is None:
            return
        topic.wanted = max(topic.wanted, version)
        fresh = [entry for entry in entries if entry.version > topic.fed.version]
        if fresh and fresh[0].version > topic.fed.version + 1:
            if read_from == topic.fed.version:
                topic.cut()  # the journal was cut off under our feet
            else:
                self._doubt(topic)
            return
        for entry in fresh:
            topic.fed = topic.fed.advanced_past(entry)
        if fresh:
            topic.put(fresh)
        if topic.behind:
            self._doubt(topic)
            return
        for first, parts in batches:
            self._adopt(topic, epoch, parts_done, first, parts)

    def gone(self, chat_id: UUID) -> None:
        """The chat was deleted."""
        topic = self._topics.get(chat_id)
        if topic is not None:
            topic.gone = True
            topic.wake()

    # -- inside -------------------------------------------------------------------------------

    def _adopt(
        self, topic: Topic, epoch: int, parts_done: int, first: int, parts: Sequence[Part]
    ) -> None:
        """Add parts that were read from the database, unless the step runs here."""
        preview = topic.preview
        if (
            preview is None
            or preview.epoch < epoch
            or (preview.epoch == epoch and preview.base < parts_done)
        ):
            preview = topic.preview = Preview(epoch, parts_done, local=False)
        if preview.local or preview.epoch != epoch or preview.base != parts_done:
            return
        if first <= preview.last + 1:
            preview.parts.extend(parts[preview.last + 1 - first :])
            topic.wake()

    def _doubt(self, topic: Topic) -> None:
        self._doubted.add(topic.chat_id)
        self.on_behind()

    def _topic(self, chat_id: UUID) -> Topic:
        topic = self._topics.get(chat_id)
        if topic is None:
            topic = self._topics[chat_id] = Topic(chat_id)
        return topic

    def _tidy(self, topic: Topic) -> None:
        if not topic.subscriptions and topic.preview is None:
            self._topics.pop(topic.chat_id, None)


_NO_PARTS = 2**62
"""A part number past every other."""
