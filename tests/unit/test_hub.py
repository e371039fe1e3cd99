"""Cases of the hub that random schedules rarely reach."""

from uuid import UUID

import pytest
from support.subscribed_hub import (
    CHAT,
    SubscribedHub,
    entry,
    part_texts,
    retry_entry,
    versions,
)

from chatd.domain.cursor import Cursor
from chatd.domain.stream_events import StreamEventType
from chatd.domain.transitions import Transition
from chatd.fanout.hub import ChatHub

OTHER = UUID(int=2)

# -- journal entries -------------------------------------------------------------------------------


def test_next_version_is_delivered_without_a_read() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.publish(entry(2))
    subscribed.hub.publish(entry(3))
    assert versions(subscribed.reader) == [2, 3]
    assert subscribed.stale_calls == 0


def test_version_gap_triggers_a_read() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.publish(entry(3))
    assert versions(subscribed.reader) == []
    assert subscribed.stale_calls == 1
    assert subscribed.take_stale() == [(CHAT, Cursor(1))]
    subscribed.apply_read(entry(2), entry(3), read_from=1)
    assert versions(subscribed.reader) == [2, 3]
    assert subscribed.take_stale() == []


def test_entry_published_during_a_read_is_delivered_once() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.publish(entry(3))
    assert subscribed.take_stale()
    subscribed.hub.publish(entry(2))
    subscribed.apply_read(entry(2), entry(3), read_from=1)
    assert [delivered.version for delivered in subscribed.subscription.take()] == [2, 3]


def test_short_read_triggers_another_read() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.handle_hint(CHAT, 4)
    assert subscribed.take_stale()
    subscribed.apply_read(entry(2), read_from=1, version=4)
    assert versions(subscribed.reader) == [2]
    assert subscribed.take_stale() == [(CHAT, Cursor(2))]


def test_wrong_hint_is_read_once() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.handle_hint(CHAT, 99)
    assert subscribed.take_stale() == [(CHAT, Cursor(1))]
    subscribed.hub.publish(entry(2))
    assert subscribed.take_stale() == []
    assert subscribed.stale_calls == 1


def test_old_hint_and_hint_without_subscribers_are_ignored() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.handle_hint(CHAT, 1)
    subscribed.hub.handle_hint(OTHER, 7)
    assert subscribed.stale_calls == 0
    subscribed.hub.unsubscribe(subscribed.subscription)
    subscribed.hub.handle_hint(CHAT, 7)
    subscribed.hub.mark_all_stale()
    assert subscribed.stale_calls == 0


def test_late_subscriber_receives_new_entries_only() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.publish(entry(2))
    _, second_reader = subscribed.subscribe(Cursor(2))
    subscribed.hub.publish(entry(3))
    assert versions(second_reader) == [3]
    assert versions(subscribed.reader) == [2, 3]


def test_snapshot_older_than_the_topic_triggers_a_read() -> None:
    """The snapshot was read just before an entry that was delivered meanwhile."""
    subscribed = SubscribedHub()
    subscribed.hub.publish(entry(2))
    _, second_reader = subscribed.subscribe(Cursor(1))
    assert subscribed.take_stale() == [(CHAT, Cursor(1))]
    subscribed.apply_read(entry(2), read_from=1)
    assert versions(second_reader) == [2]
    assert versions(subscribed.reader) == [2], "the first has it, and skips it"


def test_snapshot_newer_than_the_topic_triggers_a_read_for_the_others() -> None:
    subscribed = SubscribedHub()
    subscribed.subscribe(Cursor(3))
    assert subscribed.take_stale() == [(CHAT, Cursor(1))]


def test_entry_published_before_the_first_snapshot_triggers_a_read() -> None:
    hub = ChatHub(subscriber_buffer=100)
    stale_calls: list[bool] = []
    hub.on_stale = lambda: stale_calls.append(True)
    subscription = hub.subscribe(CHAT)
    hub.publish(entry(5))
    assert stale_calls == []
    hub.attach(subscription, Cursor(4), 0, [])
    assert stale_calls == [True]
    assert hub.stale_topics(all_topics=False) == [(CHAT, Cursor(4))]


def test_pruned_journal_ends_the_streams_once() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.handle_hint(CHAT, 9)
    assert subscribed.take_stale()
    subscribed.apply_read(entry(9), read_from=1)
    assert subscribed.subscription.disconnected
    # A subscriber that resumes before the last of them has gone starts anew, and stays connected.
    resumed, reader = subscribed.subscribe(Cursor(9))
    assert subscribed.take_stale() == []
    subscribed.hub.publish(entry(10))
    assert not resumed.disconnected
    assert versions(reader) == [10]


def test_gap_after_the_topic_went_back_is_not_a_pruned_journal() -> None:
    subscribed = SubscribedHub(cursor=Cursor(5))
    subscribed.hub.handle_hint(CHAT, 7)
    assert subscribed.take_stale() == [(CHAT, Cursor(5))]
    subscribed.subscribe(Cursor(2))
    subscribed.apply_read(entry(6), entry(7), read_from=5)
    assert not subscribed.subscription.disconnected
    assert subscribed.take_stale() == [(CHAT, Cursor(2))]


@pytest.mark.parametrize("in_one_read", [False, True])
def test_slow_subscriber_is_disconnected_alone(in_one_read: bool) -> None:
    subscribed = SubscribedHub(buffer=3)
    _, fast_reader = subscribed.subscribe(Cursor(1))
    if in_one_read:
        subscribed.apply_read(*map(entry, range(2, 6)), read_from=1)
    else:
        for version in range(2, 6):
            subscribed.hub.publish(entry(version))
            assert versions(fast_reader) == [version]
    assert subscribed.subscription.disconnected
    assert versions(subscribed.reader) == []


def test_deletion_and_drain_wake_all_subscribers() -> None:
    subscribed = SubscribedHub()
    subscribed.subscription.take()
    subscribed.hub.mark_deleted(CHAT)
    assert subscribed.subscription.topic.deleted
    assert subscribed.subscription.woken.is_set
    assert subscribed.hub.stale_topics(all_topics=True) == []
    subscribed.subscription.take()
    assert not subscribed.subscription.woken.is_set
    subscribed.hub.drain()
    assert subscribed.hub.draining
    assert subscribed.subscription.woken.is_set


async def test_entries_and_parts_wake_a_waiting_subscriber() -> None:
    subscribed = SubscribedHub()
    subscribed.reader.pull()
    subscribed.hub.publish(entry(2))
    await subscribed.subscription.wait()
    subscribed.reader.pull()
    preview = subscribed.hub.start_step(CHAT, epoch=0, base=0)
    subscribed.hub.publish_part(CHAT, preview, {"text": "a"})
    await subscribed.subscription.wait()
    assert part_texts(subscribed.reader) == ["a"]


# -- parts -----------------------------------------------------------------------------------------


def test_parts_of_a_local_step_are_not_read() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.start_step(CHAT, epoch=0, base=0)
    subscribed.hub.handle_hint(CHAT, None)
    assert subscribed.stale_calls == 0
    ((_, cursor),) = subscribed.hub.stale_topics(all_topics=True)
    assert cursor.part > 10**18


def test_parts_of_a_remote_step_are_read_after_a_hint() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.handle_hint(CHAT, None)
    assert subscribed.take_stale() == [(CHAT, Cursor(1))]
    subscribed.apply_read(read_from=1, batches=[(1, [{"text": "a"}, {"text": "b"}])])
    assert part_texts(subscribed.reader) == ["a", "b"]
    subscribed.hub.handle_hint(CHAT, None)
    assert subscribed.take_stale() == [(CHAT, Cursor(1, 0, 2))]
    subscribed.apply_read(read_from=1, batches=[(2, [{"text": "b"}, {"text": "c"}])])
    assert part_texts(subscribed.reader) == ["c"], "an overlap is sent once"
    subscribed.apply_read(read_from=1, batches=[(5, [{"text": "e"}])])
    assert part_texts(subscribed.reader) == [], "parts after a gap are not sent"


def test_lost_local_step_does_not_hide_the_new_workers_parts() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.start_step(CHAT, epoch=0, base=0)
    subscribed.hub.publish(entry(2, epoch=1, transition=Transition.CLAIM))
    subscribed.hub.handle_hint(CHAT, None)
    assert subscribed.stale_calls == 1
    subscribed.apply_read(read_from=2, version=2, epoch=1, batches=[(1, [{"text": "remote"}])])
    assert part_texts(subscribed.reader) == ["remote"]


def test_local_step_ignores_parts_that_were_read() -> None:
    subscribed = SubscribedHub()
    preview = subscribed.hub.start_step(CHAT, epoch=0, base=0)
    subscribed.hub.publish_part(CHAT, preview, {"text": "a"})
    subscribed.apply_read(read_from=1, batches=[(1, [{"text": "a"}, {"text": "b"}])])
    assert part_texts(subscribed.reader) == ["a"]
    _, second_reader = subscribed.subscribe(Cursor(1), "a")
    assert part_texts(second_reader) == ["a"]


def test_parts_of_the_next_attempt_wait_for_the_entry_that_ends_this_one() -> None:
    """Also when nothing was streamed: the entry settles one part all the same."""
    subscribed = SubscribedHub()
    preview = subscribed.hub.start_step(CHAT, epoch=0, base=1)
    subscribed.hub.publish_part(CHAT, preview, {"text": "second attempt"})
    assert part_texts(subscribed.reader) == []
    subscribed.hub.publish(retry_entry(2, settled_part=1))
    events = subscribed.reader.pull()
    assert [event.type for event in events] == [
        StreamEventType.PREVIEW_RESET,
        StreamEventType.RETRY,
        StreamEventType.MESSAGE_PART,
    ]
    assert [str(event.cursor) for event in events] == ["1.0.0~1", "2.0.0", "2.0.2"]


def test_topic_is_dropped_with_its_last_subscriber_and_step() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.start_step(CHAT, epoch=0, base=0)
    subscribed.hub.unsubscribe(subscribed.subscription)
    assert set(subscribed.hub._topics) == {CHAT}
    subscribed.hub.end_steps(CHAT, epoch=0)
    assert subscribed.hub._topics == {}
    subscribed.hub.end_steps(CHAT, epoch=0)
    subscribed.hub.publish_part(
        CHAT, subscribed.hub.start_step(CHAT, epoch=1, base=0), {"text": "unseen"}
    )
    assert set(subscribed.hub._topics) == {CHAT}
    assert subscribed.hub.subscriber_count == 0


def test_first_subscriber_after_the_last_starts_the_topic_anew() -> None:
    """The step runs here, so the topic stays, but nothing was delivered while nobody followed."""
    subscribed = SubscribedHub()
    subscribed.hub.start_step(CHAT, epoch=0, base=0)
    subscribed.hub.unsubscribe(subscribed.subscription)
    subscribed.hub.publish(entry(2))
    _, reader = subscribed.subscribe(Cursor(2))
    assert subscribed.take_stale() == []
    subscribed.hub.publish(entry(3))
    assert versions(reader) == [3]


def test_fenced_worker_does_not_end_the_steps_of_a_later_epoch() -> None:
    subscribed = SubscribedHub()
    subscribed.hub.start_step(CHAT, epoch=1, base=0)
    later = subscribed.hub.start_step(CHAT, epoch=2, base=0)
    subscribed.hub.end_steps(CHAT, epoch=1)
    assert subscribed.subscription.topic.preview is later
    subscribed.hub.end_steps(CHAT, epoch=2)
    assert subscribed.subscription.topic.preview is None
