"""The event reader at cursors in the middle of an entry, and at made-up cursors."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Role
from chatd.domain.stream_events import StreamEvent, StreamEventType, stream_events
from chatd.domain.transitions import Transition
from chatd.fanout.hub import ChatHub
from chatd.streaming.event_reader import ChatEventReader

CHAT = UUID(int=1)
FAIL = JournalEntry(
    chat_id=CHAT,
    version=4,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    transition=Transition.FAIL,
    status=Status.ERROR,
    epoch=2,
    worker_id=None,
    data={"last_error": "no", "last_error_detail": {}, "settled_part": 9},
)
"""An entry that makes three events."""
STORED = Message(
    id=1,
    chat_id=CHAT,
    version=4,
    role=Role.ASSISTANT,
    content=({"type": "text", "text": "the stored pref"},),
    model_config_id=None,
    usage=None,
    finish_reason="interrupted",
    created_at=FAIL.created_at,
)


def events_from(cursor: Cursor, entry: JournalEntry = FAIL) -> list[StreamEvent]:
    hub = ChatHub(subscriber_buffer=100)
    subscription = hub.subscribe(CHAT)
    reader = ChatEventReader(subscription, cursor, settled_part=5)
    events = reader.events_for((entry,))
    assert reader.cursor == Cursor(4, 2, cursor.part if cursor.epoch == 2 else 0)
    return events


def test_each_event_of_an_entry_has_its_own_cursor() -> None:
    events = events_from(Cursor(3, 2, 7))
    assert [event.type for event in events] == [
        StreamEventType.PREVIEW_RESET,
        StreamEventType.ERROR,
        StreamEventType.STATUS,
    ]
    assert [str(event.cursor) for event in events] == ["3.2.7~1", "3.2.7~2", "4.2.7"]


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("received_count", [0, 1, 2])
def test_resume_in_the_middle_of_an_entry_yields_the_rest(received_count: int, epoch: int) -> None:
    every_event = events_from(Cursor(3, epoch, 7))
    received = every_event[:received_count]
    cursor = received[-1].cursor if received else Cursor(3, epoch, 7)
    assert isinstance(cursor, Cursor)
    rest = events_from(cursor)
    assert received + rest == every_event
    assert [event.data for event in every_event] == [event.data for event in stream_events(FAIL)]


@pytest.mark.parametrize("sent", [3, 4, 99])
def test_cursor_past_all_events_of_an_entry_skips_it(sent: int) -> None:
    assert events_from(Cursor(3, 2, 7, sent)) == []


@pytest.mark.parametrize("version", [0, 2, 4, 9])
def test_entry_that_does_not_follow_is_skipped(version: int) -> None:
    reader = ChatEventReader(
        ChatHub(subscriber_buffer=100).subscribe(CHAT), Cursor(version), settled_part=0
    )
    assert reader.events_for((FAIL,)) == []
    assert reader.cursor == Cursor(version)


def test_cursor_of_another_epoch_yields_no_parts() -> None:
    hub = ChatHub(subscriber_buffer=100)
    subscription = hub.subscribe(CHAT)
    hub.attach(subscription, Cursor(3, 2), 0, [{"text": "a"}])
    assert ChatEventReader(subscription, Cursor(3, 9), settled_part=0).pull() == []
    (event,) = ChatEventReader(subscription, Cursor(3, 2), settled_part=0).pull()
    assert event[:3] == (StreamEventType.MESSAGE_PART, {"text": "a"}, Cursor(3, 2, 1))
    assert ChatEventReader(subscription, Cursor(3, 2, 1), settled_part=0).pull() == []
    assert ChatEventReader(subscription, Cursor(3, 2, 0), settled_part=5).pull() == [], (
        "parts of another attempt"
    )


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_entry_of_a_newer_version_is_sent_whole_after_a_cut_in_its_middle(sent: int) -> None:
    """The newer process may have counted other events, so a number of them means nothing here."""
    entry = replace(FAIL, transition=Transition.read("give_up"))
    events = events_from(Cursor(3, 2, 7, sent), entry)
    assert [event.type for event in events] == [
        *(StreamEventType.PREVIEW_RESET, StreamEventType.ERROR, StreamEventType.STATUS)
    ]
    assert [event.cursor and str(event.cursor) for event in events] == [None, None, "4.2.7"]


@pytest.mark.parametrize(("part", "resets"), [(8, False), (9, False), (10, True), (57, True)])
def test_subscriber_that_has_more_parts_than_were_stored_drops_them(
    part: int, resets: bool
) -> None:
    """The worker died before it stored the last parts. Its subscriber resumes on another replica."""
    entry = replace(
        FAIL, transition=Transition.REAP_INTERRUPT, status=Status.WAITING, messages=(STORED,)
    )
    events = events_from(Cursor(3, 2, part), entry)
    expected = [StreamEventType.MESSAGE, StreamEventType.STATUS]
    assert [event.type for event in events] == [StreamEventType.PREVIEW_RESET] * resets + expected
    assert events[-1].cursor == Cursor(4, 2, part)
    [first, *_] = events
    assert (first.cursor is None) is resets, "it is sent again after a cut"
    rest = events_from(Cursor(3, 2, part, 1), entry)
    assert [event.type for event in rest] == [StreamEventType.STATUS], (
        "the parts are dropped already"
    )


@pytest.mark.parametrize("epoch", [2, 3])
def test_parts_that_come_after_their_entry_are_not_sent(epoch: int) -> None:
    """The task of an earlier epoch, or of a step that is stored, may stream on for a moment."""
    hub = ChatHub(subscriber_buffer=100)
    subscription = hub.subscribe(CHAT)
    hub.attach(subscription, Cursor(3, 2), 0, ())
    reader = ChatEventReader(subscription, Cursor(3, 2), settled_part=0)
    preview = hub.start_step(CHAT, epoch=2, base=0)
    hub.publish_part(CHAT, preview, {"index": 0, "type": "text", "text": "a"})
    assert [event.type for event in reader.pull()] == [StreamEventType.MESSAGE_PART]
    hub.publish(replace(FAIL, epoch=epoch))
    hub.publish_part(CHAT, preview, {"index": 0, "type": "text", "text": "late"})
    assert [event.type for event in reader.pull()][-1] is StreamEventType.STATUS
    hub.publish_part(CHAT, preview, {"index": 0, "type": "text", "text": "later"})
    assert reader.pull() == []


def test_parts_of_a_new_epoch_are_sent_from_the_first() -> None:
    """The claim of a retry: its parts are counted anew, and no data of the entry say so."""
    hub = ChatHub(subscriber_buffer=100)
    subscription = hub.subscribe(CHAT)
    hub.attach(subscription, Cursor(3, 1, 7), 7, ())
    reader = ChatEventReader(subscription, Cursor(3, 1, 7), settled_part=7)
    hub.publish(replace(FAIL, transition=Transition.CLAIM, status=Status.RUNNING, data={}))
    preview = hub.start_step(CHAT, epoch=2, base=0)
    hub.publish_part(CHAT, preview, {"index": 0, "type": "text", "text": "a"})
    *_, part = reader.pull()
    assert (part.type, part.cursor) == (StreamEventType.MESSAGE_PART, Cursor(4, 2, 1))


def test_events_of_parts_are_made_once_for_all_subscribers_that_are_as_far() -> None:
    hub = ChatHub(subscriber_buffer=100)
    readers = []
    for _ in range(3):
        subscription = hub.subscribe(CHAT)
        hub.attach(subscription, Cursor(3, 2), 0, ())
        readers.append(ChatEventReader(subscription, Cursor(3, 2), settled_part=0))
    preview = hub.start_step(CHAT, epoch=2, base=0)
    for number, text in enumerate("ab", 1):
        hub.publish_part(CHAT, preview, {"index": 0, "type": "text", "text": text})
        (event,) = readers[0].pull()
        assert event.cursor == Cursor(3, 2, number)
        assert event.json == b'{"index":0,"type":"text","text":"%b"}' % text.encode()
        (same,) = readers[1].pull()
        assert same is event
    slow = readers[2].pull()
    assert [(each.data["text"], each.cursor) for each in slow if isinstance(each.data, dict)] == [
        ("a", Cursor(3, 2, 1)),
        ("b", Cursor(3, 2, 2)),
    ]


def test_part_with_nothing_for_clients_is_no_event_but_is_counted() -> None:
    hub = ChatHub(subscriber_buffer=100)
    subscription = hub.subscribe(CHAT)
    hub.attach(subscription, Cursor(3, 2), 0, ())
    reader = ChatEventReader(subscription, Cursor(3, 2), settled_part=0)
    preview = hub.start_step(CHAT, epoch=2, base=0)
    hub.publish_part(CHAT, preview, {"index": 0, "type": "text", "text": "a", "provider": {"x": 1}})
    hub.publish_part(CHAT, preview, {"index": 0, "type": "text", "provider": {"x": 2}})
    (event,) = reader.pull()
    assert event.data == {"index": 0, "type": "text", "text": "a"}
    assert reader.cursor == Cursor(3, 2, 2)
    assert reader.pull() == []
