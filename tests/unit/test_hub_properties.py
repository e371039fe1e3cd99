"""Viewers of a chat that is worked here and elsewhere, whatever hints are late, doubled or lost.

``World`` is a chat's life as the database keeps it. The machine lives it in random steps, feeds the
hub as one replica would, and has clients come, go and resume. What every client must have seen:

* each event of the journal exactly once and in order, from where it came in;
* the parts of each try of a step from the first on, in order and without a gap, after the events
  that led to the step and before those that end it;
* a preview that is always a beginning of the message that replaces it, and empty when an epoch begins.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Part, Role
from chatd.domain.stream_events import StreamEvent, StreamEventType, stream_events
from chatd.domain.transitions import Transition
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Preview, Subscription
from chatd.streaming.event_reader import ChatEventReader

CHAT, HERE, THERE = UUID(int=1), UUID(int=2), UUID(int=3)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MOST = 3
"""Journal rows that one read returns."""


@dataclass
class Try:
    """One try of one step, and all that it ever streamed."""

    epoch: int
    base: int
    began: int
    """The version after which it streams."""
    ended: int | None = None
    """The version that ended it."""
    words: list[str] = field(default_factory=list)
    flushed: int = 0
    preview: Preview | None = None
    """Set when it runs here."""

    @property
    def text(self) -> str:
        return "".join(self.words)


@dataclass(frozen=True)
class Read:
    """What one statement reads."""

    version: int
    epoch: int
    settled_part: int
    entries: tuple[JournalEntry, ...]
    first: int
    parts: tuple[Part, ...]


def part(word: str) -> Part:
    return {"index": 0, "type": "text", "text": word}


class World:
    """The database, as far as streams read it."""

    def __init__(self) -> None:
        self.journal: list[JournalEntry] = []
        self.oldest = 1
        self.status = Status.WAITING
        self.epoch = self.settled_part = 0
        self.owner: UUID | None = None
        self.tries: list[Try] = []
        self.running: Try | None = None

    @property
    def version(self) -> int:
        return len(self.journal)

    def move(
        self, move: Transition, status: Status, *roles: Role, text: str = "", **data: Any
    ) -> JournalEntry:
        version = self.version + 1
        if "settled_part" in data:
            self.settled_part = data["settled_part"]
        entry = JournalEntry(
            chat_id=CHAT,
            version=version,
            created_at=NOW,
            transition=move,
            status=status,
            epoch=self.epoch,
            worker_id=self.owner,
            data=data,
            messages=tuple(
                _message(version * 10 + n, version, r, text) for n, r in enumerate(roles)
            ),
        )
        self.journal.append(entry)
        self.status = status
        return entry

    def begin_try(self) -> Try:
        self.running = Try(self.epoch, self.settled_part, self.version)
        self.tries.append(self.running)
        return self.running

    def end_try(self, *, settles: bool = True) -> int:
        """The number that the parts are moved on to; the row that is written next ends the try."""
        ended, self.running = self.running, None
        assert ended is not None
        ended.ended = self.version + 1
        streamed = ended.base + len(ended.words) if settles else 0
        return max(streamed, self.settled_part + 1)

    def read(self, cursor: Cursor, *, most: int) -> Read:
        entries = self.journal[max(cursor.version, self.oldest - 1) :][:most]
        known = cursor.part if cursor.epoch == self.epoch else 0
        after = max(known, self.settled_part)
        words: Sequence[str] = ()
        if self.running is not None:
            words = self.running.words[: self.running.flushed][after - self.running.base :]
        return Read(
            self.version,
            self.epoch,
            self.settled_part,
            tuple(entries),
            after + 1,
            tuple(map(part, words)),
        )


def _message(number: int, version: int, role: Role, text: str) -> Message:
    return Message(
        id=number,
        chat_id=CHAT,
        version=version,
        role=role,
        content=({"type": "text", "text": text},),
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=NOW,
    )


class Client:
    """Somebody who follows the chat, and holds every event against what must come."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.subscription: Subscription | None = None
        self.viewer: ChatEventReader | None = None
        self.opening: tuple[Read, list[JournalEntry]] | None = None
        self.cursor: Cursor | None = None
        """Of the last event that arrived; None before the first snapshot."""
        self.version = self.sent = 0
        self.preview: list[str] = []
        self.seen: Try | None = None
        """The try that the preview is of."""
        self.seen_kinds: Counter[StreamEventType] = Counter()

    def start(self, cursor: Cursor, parts: Sequence[Part]) -> None:
        """A snapshot arrived."""
        self.cursor, self.version, self.sent = cursor, cursor.version, 0
        self.preview = [one["text"] for one in parts]
        self.seen = self.world.running if parts else None

    def arrive(self, event: StreamEvent) -> None:
        kind, fields, cursor = event
        self.seen_kinds[kind] += 1
        if kind is StreamEventType.MESSAGE_PART:
            self._part(cursor, fields)
        else:
            self._event(cursor, kind, fields)
        self.cursor = cursor

    def _event(self, cursor: Cursor, kind: StreamEventType, fields: Any) -> None:
        self._skip_silent_rows()
        entry = self.world.journal[self.version]
        expected = list(stream_events(entry))
        assert (kind, fields) == expected[self.sent][:2]
        self.sent += 1
        if self.sent == len(expected):
            self.version, self.sent = self.version + 1, 0
        assert (cursor.version, cursor.events_sent) == (self.version, self.sent)
        if kind in {StreamEventType.PREVIEW_RESET, StreamEventType.HISTORY_RESET}:
            self._clear()
        elif kind is StreamEventType.MESSAGE and fields.role is Role.ASSISTANT:
            stored, shown = fields.content[0]["text"], "".join(self.preview)
            if (
                entry.transition is Transition.REAP_INTERRUPT
            ):  # who died had shown more than it had flushed
                stored, shown = stored[: len(shown)], shown[: len(stored)]
            assert stored.startswith(shown)
            self._clear()
        elif entry.transition is Transition.CLAIM:
            assert not self.preview, "an epoch begins with nothing shown"

    def _skip_silent_rows(self) -> None:
        while not self.sent and not list(stream_events(self.world.journal[self.version])):
            self.version += 1

    def _part(self, cursor: Cursor, fields: Any) -> None:
        assert not self.sent, "a part in the middle of a journal row"
        (one,) = (
            one
            for one in self.world.tries
            if one.epoch == cursor.epoch and one.base < cursor.part <= one.base + len(one.words)
        )
        assert one.began <= cursor.version, "a part before the step began"
        assert one.ended is None or cursor.version < one.ended, "a part after the step ended"
        assert self.seen in (None, one), "a part on top of another step's"
        self.seen = one
        self.preview.append(fields["text"])
        assert cursor.part == one.base + len(self.preview), "a part was left out, or came twice"
        assert self.preview == one.words[: len(self.preview)]

    def _clear(self) -> None:
        self.preview, self.seen = [], None


class Replica:
    """One replica's hub, and a chat that is worked here and elsewhere.

    Everything that may happen is a method of two numbers, and nothing where it cannot happen.
    """

    def __init__(self, *, lossless: bool, buffer: int) -> None:
        self.world = World()
        self.clients = [Client(self.world) for _ in range(3)]
        self.unfed: list[JournalEntry] = []
        self.unheard: list[int | None] = []
        self.reading: tuple[Cursor, Read] | None = None
        self.zombies: list[tuple[Try, Preview]] = []
        self.ending: list[int] = []
        """The epochs of runners here that have lost their chat, or have given it back."""
        self.woken = False
        self.lossless = lossless
        self.hub = ChatHub(subscriber_buffer=buffer)
        self.hub.on_stale = self._wake
        self.world.move(Transition.CREATE, Status.PENDING, Role.USER, text="hello")

    def _wake(self) -> None:
        self.woken = True

    # -- the owner, here or elsewhere ---------------------------------------------------------

    def _owner_moved(self, entry: JournalEntry, owner: UUID | None, *, heard: bool = True) -> None:
        """An owner here feeds at once, or (its answer was cut off) only knows how far the chat is."""
        if owner != HERE:
            self.unheard.append(entry.version)
        elif heard:
            self.hub.publish(entry)
        else:
            self.hub.handle_hint(CHAT, entry.version)

    def _start_step(self) -> None:
        running = self.world.begin_try()
        if self.world.owner == HERE:
            running.preview = self.hub.start_step(CHAT, epoch=running.epoch, base=running.base)

    def claim(self, a: int, b: int) -> None:
        """A runner here may begin before the one before it has ended."""
        if self.world.status is not Status.PENDING:
            return
        owner = HERE if a % 2 else THERE
        if owner == HERE and b % 2:
            self.end_runner(0, 0)
        world = self.world
        world.epoch, world.owner, world.settled_part = world.epoch + 1, owner, 0
        self._owner_moved(world.move(Transition.CLAIM, Status.RUNNING), owner)
        self._start_step()

    def stream(self, a: int, b: int) -> None:
        running = self.world.running
        if running is None:
            return
        for word in "abcabcab"[a : a + 1 + b % 3]:
            running.words.append(word)
            if running.preview is not None:
                self.hub.publish_part(CHAT, running.preview, part(word))

    def flush(self, _a: int, _b: int) -> None:
        running = self.world.running
        if running is None:
            return
        running.flushed = len(running.words)
        if running.preview is None:
            self.unheard.append(None)

    def next_step(self, a: int, b: int) -> None:
        """A step ends, and another begins."""
        world, running = self.world, self.world.running
        if running is None or world.status is not Status.RUNNING:
            return
        what = ("answer", "tools", "retry", "next turn")[a % 4]
        if what == "tools" and running.words:  # calling tools streams nothing
            what = "retry"
        done = world.end_try()
        match what:
            case "answer":
                entry = world.move(
                    Transition.COMMIT_STEP,
                    Status.RUNNING,
                    Role.ASSISTANT,
                    text=running.text,
                    settled_part=done,
                )
            case "tools":
                entry = world.move(
                    Transition.COMMIT_STEP, Status.RUNNING, Role.TOOL, settled_part=done
                )
            case "retry":
                entry = world.move(
                    Transition.RECORD_RETRY,
                    Status.RUNNING,
                    attempt=1,
                    delay_seconds=0,
                    next_attempt_at=None,
                    failure={},
                    settled_part=done,
                )
            case _:
                entry = world.move(
                    Transition.FINISH_TURN,
                    Status.RUNNING,
                    Role.ASSISTANT,
                    Role.USER,
                    text=running.text,
                    promoted=1,
                    queue_length=0,
                    settled_part=done,
                )
        self._owner_moved(entry, world.owner, heard=b > 1)
        self._start_step()

    def end_turn(self, a: int, b: int) -> None:
        world, running, owner = self.world, self.world.running, self.world.owner
        if running is None:
            return
        what = ("answered", "failed", "released", "asked")[a % 4]
        if world.status is Status.INTERRUPTING:
            what = "interrupted"
        done = world.end_try(settles=what != "released")
        said = what in {"answered", "asked"} or (a and running.words)
        roles = (Role.ASSISTANT,) if said else ()
        world.owner = None
        match what:
            case "answered":
                entry = world.move(
                    Transition.FINISH_TURN,
                    Status.WAITING,
                    *roles,
                    text=running.text,
                    settled_part=done,
                )
            case "asked":
                entry = world.move(
                    Transition.REQUIRE_ACTION,
                    Status.REQUIRES_ACTION,
                    *roles,
                    text=running.text,
                    calls=[],
                    deadline="soon",
                    settled_part=done,
                )
            case "interrupted":
                entry = world.move(
                    Transition.FINISH_INTERRUPT,
                    Status.WAITING,
                    *roles,
                    text=running.text,
                    settled_part=done,
                )
            case "failed":
                reason = {"last_error": "no", "last_error_detail": None}
                entry = world.move(Transition.FAIL, Status.ERROR, **reason, settled_part=done)
            case _:
                entry = world.move(
                    Transition.RELEASE, Status.PENDING, reason="test", settled_part=done
                )
        self._owner_moved(entry, owner, heard=b > 1)
        self.ending += [world.epoch] if owner == HERE else []

    def end_runner(self, _a: int, _b: int) -> None:
        for epoch in self.ending:
            self.hub.end_steps(CHAT, epoch=epoch)
        self.ending, self.zombies = [], []

    # -- the owner is thought dead ------------------------------------------------------------

    def reap(self, _a: int, _b: int) -> None:
        """By another replica. An owner here does not know, and goes on."""
        world, running = self.world, self.world.running
        if running is None:
            return
        stopping = world.status is Status.INTERRUPTING
        done = world.end_try(settles=False)
        if stopping:
            done = max(done, running.base + running.flushed)
        world.owner = None
        self._bury(running)
        if stopping:
            text = "".join(running.words[: running.flushed])
            roles = (Role.ASSISTANT,) if text else ()
            entry = world.move(
                Transition.REAP_INTERRUPT, Status.WAITING, *roles, text=text, settled_part=done
            )
        else:
            entry = world.move(
                Transition.REAP, Status.PENDING, reason="x", recoveries=1, settled_part=done
            )
        self.unheard.append(entry.version)

    def _bury(self, lost: Try) -> None:
        """An owner here does not know yet that it is none any more."""
        if lost.preview is not None:
            self.zombies.append((replace(lost), lost.preview))
            self.ending.append(lost.epoch)

    def zombie_streams(self, a: int, _: int) -> None:
        if not self.zombies:
            return
        word = "xyz"[a % 3]
        was, preview = self.zombies[-1]
        (one,) = (t for t in self.world.tries if (t.epoch, t.base) == (was.epoch, was.base))
        one.words.append(word)
        self.hub.publish_part(CHAT, preview, part(word))

    # -- callers ------------------------------------------------------------------------------

    def describe(self, a: int, _: int) -> None:
        entry = self.world.move(
            Transition.DESCRIBE, self.world.status, title="t", labels={}, archived=False
        )
        self._caller_moved(entry, here=bool(a % 2))

    def send(self, a: int, _: int) -> None:
        world = self.world
        if world.status in {Status.WAITING, Status.ERROR}:
            entry = world.move(
                Transition.SEND, Status.PENDING, Role.USER, text="more", queue_length=0
            )
        elif world.status is Status.REQUIRES_ACTION:
            entry = world.move(Transition.SUBMIT_TOOL_RESULTS, Status.PENDING, Role.TOOL)
        else:
            entry = world.move(Transition.SEND, world.status, queued=1, queue_length=1)
        self._caller_moved(entry, here=bool(a % 2))

    def interrupt(self, a: int, _: int) -> None:
        if self.world.status is Status.RUNNING:
            entry = self.world.move(Transition.INTERRUPT, Status.INTERRUPTING)
            self._caller_moved(entry, here=bool(a % 2))

    def edit(self, a: int, b: int) -> None:
        """Whoever works on the chat is fenced, and does not know."""
        world, running = self.world, self.world.running
        if running is not None:
            world.end_try(settles=False)
            self._bury(running)
        world.epoch, world.owner, world.settled_part = world.epoch + 1, None, 0
        dropped = {"removed": [1]} if b % 2 else {}
        entry = world.move(
            Transition.EDIT, Status.PENDING, Role.USER, text="instead",
            reset_from=1, queue_length=0, **dropped,
        )  # fmt: skip
        self._caller_moved(entry, here=bool(a % 2))

    def _caller_moved(self, entry: JournalEntry, *, here: bool) -> None:
        if here:
            self.unfed.append(entry)
        else:
            self.unheard.append(entry.version)

    # -- what this replica hears, in any order --------------------------------------------------

    def feed(self, a: int, _: int) -> None:
        """A move of this process comes round, perhaps after a later one."""
        if self.unfed:
            self.hub.publish(self.unfed.pop(a % len(self.unfed)))

    def hear(self, a: int, b: int) -> None:
        """A hint arrives: late, out of order, twice, or (b is 0) not at all."""
        if not self.unheard:
            return
        hint = self.unheard[a % len(self.unheard)]
        if b != 1:
            self.unheard.remove(hint)
        if b or self.lossless:
            self.hub.handle_hint(CHAT, hint)

    def wrong_hint(self, a: int, b: int) -> None:
        self.hub.handle_hint(CHAT, a * b)

    def deaf(self, _a: int, _b: int) -> None:
        self.hub.mark_all_stale()

    def read(self, a: int, _: int) -> None:
        if self.reading is None:
            self._read(everything=a == 0)

    def _read(self, *, everything: bool) -> None:
        self.woken = False
        for _, cursor in self.hub.stale_topics(all_topics=everything):
            self.reading = (cursor, self.world.read(cursor, most=MOST))

    def answer(self, _a: int, _b: int) -> None:
        """What was read some time ago arrives."""
        if self.reading is None:
            return
        (cursor, read), self.reading = self.reading, None
        same = read.version == cursor.version
        if same and not read.parts:
            return  # nothing new is left out
        self.hub.apply_read(
            CHAT,
            read.entries,
            after_version=cursor.version,
            version=read.version,
            epoch=read.epoch,
            settled_part=read.settled_part,
            batches=[(read.first, read.parts)] if read.parts else [],
        )

    def forget_events(self, a: int, _: int) -> None:
        self.world.oldest = max(self.world.oldest, self.world.version - a)

    # -- clients ------------------------------------------------------------------------------

    def open(self, a: int, _: int = 0) -> None:
        client = self.clients[a % 3]
        if client.subscription is not None:
            return
        client.subscription = self.hub.subscribe(CHAT)
        cursor = client.cursor
        if cursor is not None and self.world.oldest - 1 <= cursor.version:
            read = self.world.read(replace(cursor, epoch=0, part=0), most=10**6)
            client.opening = (read, list(read.entries))
        else:
            client.cursor = None
            client.opening = (self.world.read(Cursor(self.world.version), most=0), [])

    def opened(self, a: int, _: int = 0) -> None:
        client = self.clients[a % 3]
        if client.opening is None:
            return
        (read, entries), client.opening = client.opening, None
        assert client.subscription is not None
        if client.cursor is None:
            cursor = Cursor(read.version, read.epoch, read.settled_part)
            self.hub.attach(client.subscription, cursor, read.settled_part, read.parts)
            client.viewer = ChatEventReader(
                client.subscription, cursor, settled_part=read.settled_part
            )
            parts = client.viewer.snapshot_parts()
            client.start(client.viewer.cursor, parts)
            client.seen = self._try_at(client.viewer.cursor) if parts else None
            return
        client.viewer = ChatEventReader(
            client.subscription, client.cursor, settled_part=read.settled_part
        )
        events = client.viewer.events_for(tuple(entries))
        assert client.viewer.cursor.version == read.version
        client.viewer.set_settled_part(read.settled_part)
        begin = Cursor(read.version, read.epoch)
        self.hub.attach(client.subscription, begin, read.settled_part, read.parts)
        for event in events:
            client.arrive(event)

    def _try_at(self, cursor: Cursor) -> Try:
        (one,) = (
            one
            for one in self.world.tries
            if one.epoch == cursor.epoch and one.base < cursor.part <= one.base + len(one.words)
        )
        return one

    def pull(self, a: int, b: int) -> None:
        for client in self.clients if b > 1 else self.clients[a % 3 :][:1]:
            self._pull(client)

    def _pull(self, client: Client, arriving: int = 10**6) -> None:
        if client.viewer is None or client.subscription is None:
            return
        if client.subscription.disconnected:
            self._close(client)
            return
        for event in client.viewer.pull()[:arriving]:
            client.arrive(event)

    def cut(self, a: int, b: int) -> None:
        """The connection breaks; only some of what was sent has arrived."""
        client = self.clients[a % 3]
        self._pull(client, b)
        self._close(client)

    def _close(self, client: Client) -> None:
        if client.subscription is not None:
            self.hub.unsubscribe(client.subscription)
        client.subscription = client.viewer = client.opening = None

    # -- in the end everybody has seen everything -------------------------------------------------

    def check_topics(self) -> None:
        """A topic goes with its last use."""
        used = any(client.subscription for client in self.clients)
        worked = self.world.owner == HERE or self.ending
        assert bool(self.hub._topics) <= bool(used or worked)
        assert self.hub.subscriber_count == sum(c.subscription is not None for c in self.clients)

    def finish(self) -> None:
        self._deliver()
        self._settle()
        for client in self.clients:
            if client.subscription is not None and client.subscription.disconnected:
                self._close(client)
        for who in range(len(self.clients)):
            self.open(who)
            self.opened(who)
        self._settle()
        for client in self.clients:
            self._check_complete(client)
            self._close(client)
        self.end_runner(0, 0)
        if self.world.owner != HERE:
            assert self.hub._topics == {}

    def _deliver(self) -> None:
        """What is still under way arrives."""
        for entry in self.unfed:
            self.hub.publish(entry)
        for hint in self.unheard if self.lossless else ():
            self.hub.handle_hint(CHAT, hint)
        if self.reading is not None:
            self.answer(0, 0)
        for who in range(len(self.clients)):
            self.opened(who)

    def _settle(self) -> None:
        """Read as long as somebody asks for it; where hints were lost, everything once more."""
        polls, reads = 0 if self.lossless else 2, 0
        while self.woken or polls:
            reads += 1
            assert reads < 1000, "it asks to be read again and again"
            polls -= not self.woken
            self._read(everything=not self.woken)
            if self.reading is not None:
                self.answer(0, 0)
        for client in self.clients:
            self._pull(client)

    def _check_complete(self, client: Client) -> None:
        if client.subscription is not None and client.subscription.disconnected:
            return
        assert client.viewer is not None
        assert client.viewer.cursor.version == self.world.version
        running = self.world.running
        if running is None:
            assert not client.preview
        elif running.preview is not None:
            assert client.preview == running.words
        else:
            assert len(client.preview) >= running.flushed


Action = tuple[str, int, int]

OFTEN = {
    "claim": 20, "stream": 40, "flush": 15, "next_step": 10, "end_turn": 4, "end_runner": 3,
    "reap": 3, "zombie_streams": 6, "describe": 3, "send": 12, "interrupt": 2, "edit": 3, "feed": 9,
    "hear": 24, "wrong_hint": 1, "deaf": 1, "read": 24, "answer": 24, "forget_events": 1, "open": 15,
    "opened": 15, "pull": 40, "cut": 4,
}  # fmt: skip
"""What happens, and how often."""


def live(actions: Sequence[Action], *, lossless: bool, buffer: int) -> Replica:
    replica = Replica(lossless=lossless, buffer=buffer)
    for client in range(3):
        replica.open(client)
        replica.opened(client)
    for name, a, b in actions:
        getattr(replica, name)(a, b)
        replica.check_topics()
    replica.finish()
    return replica


ACTION = st.tuples(
    st.sampled_from([name for name, times in OFTEN.items() for _ in range(times)]),
    st.integers(0, 7),
    st.integers(0, 4),
)


@settings(max_examples=300)
@given(st.lists(ACTION, max_size=80), st.booleans(), st.sampled_from([2, 5, 1000]))
def test_every_viewer_sees_everything_once(
    actions: list[Action], lossless: bool, buffer: int
) -> None:
    live(actions, lossless=lossless, buffer=buffer)


OF_THE_CONNECTION = frozenset(
    {
        StreamEventType.SNAPSHOT,
        StreamEventType.DELETED,
        StreamEventType.RESET,
        StreamEventType.DRAINING,
    }
)
"""Events that no journal row makes."""


@pytest.mark.parametrize("seed", range(20))
def test_long_lives(seed: int) -> None:
    """Deeper than hypothesis goes; what fails here is cut down to the actions that matter."""
    dice = random.Random(seed)
    names, weights = list(OFTEN), list(OFTEN.values())
    seen: Counter[StreamEventType] = Counter()
    for _ in range(40):
        actions = [
            (name, dice.randrange(8), dice.randrange(5))
            for name in dice.choices(names, weights, k=dice.choice([60, 120, 300]))
        ]
        way: dict[str, Any] = {
            "lossless": dice.random() < 0.5,
            "buffer": dice.choice([5, 1000, 1000]),
        }
        if fails(actions, way):
            actions = smallest(actions, way)
            pytest.fail(f"{fails(actions, way)!r}\nlive({actions}, **{way})")
        for client in live(actions, **way).clients:
            seen += client.seen_kinds
    assert seen[StreamEventType.MESSAGE_PART] > 200, "the lives were worth watching"
    assert min(seen[kind] for kind in TOLD) > 5


TOLD = {kind for kind in StreamEventType if kind not in OF_THE_CONNECTION}


def fails(actions: Sequence[Action], way: dict[str, Any]) -> Exception | None:
    try:
        live(actions, **way)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is for
        return error
    return None


def smallest(actions: list[Action], way: dict[str, Any]) -> list[Action]:
    """Without every action that the failure does not need."""
    size = len(actions)
    while size:
        for start in range(0, len(actions), size):
            fewer = actions[:start] + actions[start + size :]
            if fails(fewer, way):
                actions = fewer
                break
        else:
            size //= 2
    return actions
