"""The hub, case by case: what a random life finds only by luck."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.hint import Hint
from chatd.domain.journal import JournalEntry
from chatd.domain.stream_events import StreamEventType
from chatd.domain.transitions import Transition
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Subscription
from chatd.streaming.event_reader import ChatEventReader

CHAT, OTHER = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(
    version: int, *, move: Transition = Transition.DESCRIBE, epoch: int = 0, **data: Any
) -> JournalEntry:
    return JournalEntry(
        chat_id=CHAT,
        version=version,
        created_at=NOW,
        transition=move,
        status=Status.RUNNING,
        epoch=epoch,
        worker_id=None,
        data={"title": "t", "labels": {}, "archived": False, "failure": {}, **data},
    )


def retry(version: int, **data: Any) -> JournalEntry:
    tried = {"attempt": 1, "delay_seconds": 0, "next_attempt_at": None}
    return row(version, move=Transition.RECORD_RETRY, **tried, **data)


class Watched:
    """A hub with one viewer of a chat, and whether it asked to be read."""

    def __init__(self, *, buffer: int = 100, cursor: Cursor = Cursor(1)) -> None:  # noqa: B008 - frozen
        self.hub = ChatHub(subscriber_buffer=buffer)
        self.asked = 0
        self.hub.on_stale = self._ask
        self.subscription, self.viewer = self.watch(cursor)

    def _ask(self) -> None:
        self.asked += 1

    def watch(self, cursor: Cursor, *parts: str) -> tuple[Subscription, ChatEventReader]:
        subscription = self.hub.subscribe(CHAT)
        self.hub.attach(subscription, cursor, 0, [{"text": one} for one in parts])
        return subscription, ChatEventReader(subscription, cursor, settled_part=0)

    def catch_up(self, *entries: JournalEntry, read_from: int, **more: Any) -> None:
        known = {"version": entries[-1].version if entries else read_from, "epoch": 0}
        self.hub.apply_read(
            CHAT,
            entries,
            after_version=read_from,
            **{**known, "settled_part": 0, "batches": [], **more},
        )

    @property
    def places(self) -> list[tuple[UUID, Cursor]]:
        return self.hub.stale_topics(all_topics=False)


def versions(viewer: ChatEventReader) -> list[int]:
    return [event.cursor.version for event in viewer.pull()]


def words(viewer: ChatEventReader) -> list[str]:
    return [
        event.data["text"] for event in viewer.pull() if event.type is StreamEventType.MESSAGE_PART
    ]


# -- journal rows ------------------------------------------------------------------------------------


def test_what_follows_is_put_at_once_and_asks_for_nothing() -> None:
    one = Watched()
    one.hub.publish(row(2))
    one.hub.publish(row(3))
    assert versions(one.viewer) == [2, 3]
    assert one.asked == 0


def test_what_does_not_follow_is_read() -> None:
    one = Watched()
    one.hub.publish(row(3))
    assert versions(one.viewer) == []
    assert one.asked == 1
    assert one.places == [(CHAT, Cursor(1))]
    one.catch_up(row(2), row(3), read_from=1)
    assert versions(one.viewer) == [2, 3]
    assert one.places == []


def test_what_came_meanwhile_is_not_put_twice() -> None:
    one = Watched()
    one.hub.publish(row(3))
    assert one.places
    one.hub.publish(row(2))
    one.catch_up(row(2), row(3), read_from=1)
    assert [entry.version for entry in one.subscription.take()] == [2, 3]


def test_a_short_read_asks_to_be_read_on() -> None:
    one = Watched()
    one.hub.handle_hint(CHAT, 4)
    assert one.places
    one.catch_up(row(2), read_from=1, version=4)
    assert versions(one.viewer) == [2]
    assert one.places == [(CHAT, Cursor(2))]


def test_a_wrong_hint_is_read_once() -> None:
    one = Watched()
    one.hub.handle_hint(CHAT, 99)
    assert one.places == [(CHAT, Cursor(1))]
    one.hub.publish(row(2))
    assert one.places == []
    assert one.asked == 1


def test_an_old_hint_and_one_for_nobody_are_not_read() -> None:
    one = Watched()
    one.hub.handle_hint(CHAT, 1)
    one.hub.handle_hint(OTHER, 7)
    assert one.asked == 0
    one.hub.unsubscribe(one.subscription)
    one.hub.handle_hint(CHAT, 7)
    one.hub.mark_all_stale()
    assert one.asked == 0


def test_a_viewer_who_comes_late_shares_what_the_first_has() -> None:
    one = Watched()
    one.hub.publish(row(2))
    _, second = one.watch(Cursor(2))
    one.hub.publish(row(3))
    assert versions(second) == [3]
    assert versions(one.viewer) == [2, 3]


def test_a_snapshot_older_than_the_topic_is_caught_up() -> None:
    """It was read before a row that was put while the answer was under way."""
    one = Watched()
    one.hub.publish(row(2))
    _, second = one.watch(Cursor(1))
    assert one.places == [(CHAT, Cursor(1))]
    one.catch_up(row(2), read_from=1)
    assert versions(second) == [2]
    assert versions(one.viewer) == [2], "the first has seen it, and passes it by"


def test_a_snapshot_newer_than_the_topic_has_the_others_catch_up() -> None:
    one = Watched()
    one.watch(Cursor(3))
    assert one.places == [(CHAT, Cursor(1))]


def test_a_hint_before_the_first_snapshot_counts() -> None:
    hub = ChatHub(subscriber_buffer=100)
    asked: list[bool] = []
    hub.on_stale = lambda: asked.append(True)
    subscription = hub.subscribe(CHAT)
    hub.publish(row(5))
    assert asked == []
    hub.attach(subscription, Cursor(4), 0, [])
    assert asked == [True]
    assert hub.stale_topics(all_topics=False) == [(CHAT, Cursor(4))]


def test_a_journal_that_was_cut_off_ends_the_streams_once() -> None:
    one = Watched()
    one.hub.handle_hint(CHAT, 9)
    assert one.places
    one.catch_up(row(9), read_from=1)
    assert one.subscription.disconnected
    # Who comes back before the last of them has gone begins anew, and is not cut off with them.
    again, viewer = one.watch(Cursor(9))
    assert one.places == []
    one.hub.publish(row(10))
    assert not again.disconnected
    assert versions(viewer) == [10]


def test_a_gap_after_the_topic_went_back_is_no_cut() -> None:
    one = Watched(cursor=Cursor(5))
    one.hub.handle_hint(CHAT, 7)
    assert one.places == [(CHAT, Cursor(5))]
    one.watch(Cursor(2))
    one.catch_up(row(6), row(7), read_from=5)
    assert not one.subscription.disconnected
    assert one.places == [(CHAT, Cursor(2))]


@pytest.mark.parametrize("together", [False, True])
def test_a_slow_viewer_is_ended_and_the_others_go_on(together: bool) -> None:
    one = Watched(buffer=3)
    _, quick = one.watch(Cursor(1))
    if together:
        one.catch_up(*map(row, range(2, 6)), read_from=1)
    else:
        for version in range(2, 6):
            one.hub.publish(row(version))
            assert versions(quick) == [version]
    assert one.subscription.disconnected
    assert versions(one.viewer) == []


def test_a_deleted_chat_and_a_drain_wake_everybody() -> None:
    one = Watched()
    one.subscription.take()
    one.hub.mark_deleted(CHAT)
    assert one.subscription.topic.deleted
    assert one.subscription._woken.is_set()
    assert one.hub.stale_topics(all_topics=True) == []
    one.subscription.take()
    assert not one.subscription._woken.is_set()
    one.hub.drain()
    assert one.hub.draining
    assert one.subscription._woken.is_set()


async def test_whoever_waits_is_woken_by_rows_and_by_parts() -> None:
    one = Watched()
    one.viewer.pull()
    one.hub.publish(row(2))
    await one.subscription.wait()
    one.viewer.pull()
    preview = one.hub.start_step(CHAT, epoch=0, base=0)
    one.hub.publish_part(CHAT, preview, {"text": "a"})
    await one.subscription.wait()
    assert words(one.viewer) == ["a"]


# -- parts ---------------------------------------------------------------------------------------------


def test_parts_of_a_step_here_are_not_read() -> None:
    one = Watched()
    one.hub.start_step(CHAT, epoch=0, base=0)
    one.hub.handle_hint(CHAT, None)
    assert one.asked == 0
    ((_, cursor),) = one.hub.stale_topics(all_topics=True)
    assert cursor.part > 10**18


def test_parts_of_a_step_elsewhere_are_read_when_somebody_says_so() -> None:
    one = Watched()
    one.hub.handle_hint(CHAT, None)
    assert one.places == [(CHAT, Cursor(1))]
    one.catch_up(read_from=1, batches=[(1, [{"text": "a"}, {"text": "b"}])])
    assert words(one.viewer) == ["a", "b"]
    one.hub.handle_hint(CHAT, None)
    assert one.places == [(CHAT, Cursor(1, 0, 2))]
    one.catch_up(read_from=1, batches=[(2, [{"text": "b"}, {"text": "c"}])])
    assert words(one.viewer) == ["c"], "what overlaps is shown once"
    one.catch_up(read_from=1, batches=[(5, [{"text": "e"}])])
    assert words(one.viewer) == [], "what does not follow waits"


def test_a_step_here_that_was_taken_away_does_not_hide_the_new_owners_parts() -> None:
    one = Watched()
    one.hub.start_step(CHAT, epoch=0, base=0)
    one.hub.publish(row(2, epoch=1, move=Transition.CLAIM))
    one.hub.handle_hint(CHAT, None)
    assert one.asked == 1
    one.catch_up(read_from=2, version=2, epoch=1, batches=[(1, [{"text": "theirs"}])])
    assert words(one.viewer) == ["theirs"]


def test_a_step_here_is_not_replaced_by_what_is_read_of_it() -> None:
    one = Watched()
    preview = one.hub.start_step(CHAT, epoch=0, base=0)
    one.hub.publish_part(CHAT, preview, {"text": "a"})
    one.catch_up(read_from=1, batches=[(1, [{"text": "a"}, {"text": "b"}])])
    assert words(one.viewer) == ["a"]
    _, second = one.watch(Cursor(1), "a")
    assert words(second) == ["a"]


def test_the_parts_of_the_next_try_wait_for_the_row_that_ends_this_one() -> None:
    """Although nothing was streamed: so the row moves the parts on all the same."""
    one = Watched()
    preview = one.hub.start_step(CHAT, epoch=0, base=1)
    one.hub.publish_part(CHAT, preview, {"text": "second try"})
    assert words(one.viewer) == []
    one.hub.publish(retry(2, settled_part=1))
    shown = one.viewer.pull()
    assert [event.type for event in shown] == [
        StreamEventType.PREVIEW_RESET,
        StreamEventType.RETRY,
        StreamEventType.MESSAGE_PART,
    ]
    assert [str(event.cursor) for event in shown] == ["1.0.0+1", "2.0.0", "2.0.2"]


def test_topics_go_with_their_last_viewer_and_their_last_step() -> None:
    one = Watched()
    one.hub.start_step(CHAT, epoch=0, base=0)
    one.hub.unsubscribe(one.subscription)
    assert set(one.hub._topics) == {CHAT}
    one.hub.end_steps(CHAT, epoch=0)
    assert one.hub._topics == {}
    one.hub.end_steps(CHAT, epoch=0)
    one.hub.publish_part(CHAT, one.hub.start_step(CHAT, epoch=1, base=0), {"text": "unseen"})
    assert set(one.hub._topics) == {CHAT}
    assert one.hub.subscriber_count == 0


def test_who_comes_after_the_last_has_gone_begins_anew() -> None:
    """The step runs here, so the topic stays; nobody has to read what nobody watched."""
    one = Watched()
    one.hub.start_step(CHAT, epoch=0, base=0)
    one.hub.unsubscribe(one.subscription)
    one.hub.publish(row(2))
    _, viewer = one.watch(Cursor(2))
    assert one.places == []
    one.hub.publish(row(3))
    assert versions(viewer) == [3]


# -- hints ---------------------------------------------------------------------------------------------


async def test_a_move_here_is_fed_heard_and_told() -> None:
    one = Watched()
    told: list[Hint] = []
    heard: list[Hint] = []
    hints = ChangeBus(one.hub, notify_replicas=told.append)
    hints.subscribe(heard.append)
    hints.publish(None)
    assert told == heard == []
    hints.publish(row(2))
    hints.publish(replace(row(3), status=Status.WAITING))
    assert versions(one.viewer) == [2, 3]
    assert heard == [Hint(CHAT, 2, Status.RUNNING), Hint(CHAT, 3, Status.WAITING)]
    assert told == heard, "what could wait goes with what could not"
    hints.publish_parts(CHAT)
    assert told[2:] == [Hint(CHAT, 0)]
    assert len(heard) == 2, "parts are no news to those who act on moves"


async def test_what_can_wait_is_told_all_the_same() -> None:
    told = asyncio.Queue[Hint]()
    hints = ChangeBus(
        ChatHub(subscriber_buffer=100), notify_replicas=told.put_nowait, coalesce_seconds=0.0
    )
    hints.claims_locally = lambda: True
    pending = replace(row(2), status=Status.PENDING)
    hints.publish(pending)
    assert told.empty()
    assert await told.get() == Hint(CHAT, 2, Status.PENDING)
    hints.claims_locally = lambda: False
    hints.publish(pending)
    assert told.get_nowait() == Hint(CHAT, 2, Status.PENDING), "somebody else has to claim it"


def test_what_others_say_is_heard_and_not_told_again() -> None:
    one = Watched()
    told: list[Hint] = []
    heard: list[Hint] = []
    hints = ChangeBus(one.hub, notify_replicas=told.append)
    hints.subscribe(heard.append)
    hints.receive(Hint(CHAT, 3, Status.RUNNING))
    assert one.places == [(CHAT, Cursor(1))]
    hints.receive(Hint(CHAT, 0))
    assert one.places == [(CHAT, Cursor(1))]
    hints.resync()
    assert one.places == [(CHAT, Cursor(1))]
    assert [hint.version for hint in heard] == [3, 0, 0]
    assert told == []


def test_an_owner_that_was_fenced_does_not_end_the_steps_of_the_next() -> None:
    one = Watched()
    one.hub.start_step(CHAT, epoch=1, base=0)
    later = one.hub.start_step(CHAT, epoch=2, base=0)
    one.hub.end_steps(CHAT, epoch=1)
    assert one.subscription.topic.preview is later
    one.hub.end_steps(CHAT, epoch=2)
    assert one.subscription.topic.preview is None
