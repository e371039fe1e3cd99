"""The items of a turn: whatever of its stream arrives, they add up to what is stored."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.trials import trials
from support.turn_cases import TurnCase, message, snapshot, turns
from support.turn_client import TurnClient

from chatd.adapters.turn_item_reader import Turn, TurnItemReader, read_history
from chatd.adapters.turn_items import (
    ActionRequired,
    ChatDeleted,
    PartDelta,
    Queued,
    StepBegan,
    StepVoided,
    TurnBegan,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnItem,
    TurnSuperseded,
)
from chatd.domain.chat import Status
from chatd.domain.message import QueuedMessage, Role
from chatd.domain.stream_events import StreamEvent, StreamEventType

_E = StreamEventType
USER = message(10, Role.USER, {"type": "text", "text": "hi", "client": "u1"})
TURN = Turn(message_id=10)


def follow(case: TurnCase, start: int = 0) -> list[TurnItem]:
    """Return the items of a client that opens its stream after some of the events."""
    reader = TurnItemReader(TURN)
    items = list(reader.read_snapshot(case.at(start)))
    for event in case.events[start:]:
        items += reader.read_event(event)
    return items


@settings(max_examples=trials(150))
@given(turns(), st.data())
def test_stream_that_is_opened_anywhere_shows_what_is_stored(
    case: TurnCase, data: st.DataObject
) -> None:
    client = TurnClient(follow(case, data.draw(st.integers(0, len(case.events)))))
    client.check_shows(case.messages)
    assert client.end == read_history(case.messages)[-1]


@settings(max_examples=trials(100))
@given(turns())
def test_live_items_without_voids_are_those_of_the_history(case: TurnCase) -> None:
    assert joined(follow(case)) == joined(read_history(case.messages))


@settings(max_examples=trials(150))
@given(turns(), st.data())
def test_lost_doubled_and_late_parts_heal(case: TurnCase, data: st.DataObject) -> None:
    events: list[StreamEvent] = []
    late: list[StreamEvent] = []
    for event in case.events:
        fate = "once"
        if event.type is _E.MESSAGE_PART:
            fate = data.draw(st.sampled_from(["once", "once", "lost", "twice", "late"]))
        events += [event] * {"once": 1, "lost": 0, "twice": 2, "late": 0}[fate]
        if fate == "late":
            late.append(event)
        elif late:
            events.append(late.pop())
    client = TurnClient(follow(TurnCase(case.messages, tuple(events))))
    client.check_shows(case.messages)
    assert client.end == read_history(case.messages)[-1]


@settings(max_examples=trials(100))
@given(turns(), st.data())
def test_snapshots_in_between_change_nothing(case: TurnCase, data: st.DataObject) -> None:
    """A stream that cannot be resumed begins anew with a snapshot, which may lack the newest parts."""
    again = data.draw(st.integers(0, len(case.events)))
    known = case.at(again)
    parts = known.parts[: data.draw(st.integers(0, len(known.parts)))]
    shorter = snapshot(known.chat.status, *known.messages, parts=tuple(parts))
    reader = TurnItemReader(TURN)
    client = TurnClient(reader.read_snapshot(case.at(0)))
    for event in case.events[:again]:
        client.apply(reader.read_event(event))
    client.apply(reader.read_event(StreamEvent(_E.SNAPSHOT, shorter)))
    for event in case.events[again:]:
        client.apply(reader.read_event(event))
    client.check_shows(case.messages)


def joined(items: list[TurnItem] | Any) -> list[TurnItem]:
    """Return items with the deltas of each part as one, and without what was void."""
    kept: list[TurnItem] = []
    for item in items:
        match item, kept[-1] if kept else None:
            case PartDelta(step, index, text), PartDelta(_, _, before):
                kept[-1] = PartDelta(step, index, before + text)
            case _:
                kept.append(item)
        if isinstance(item, StepVoided):
            kept.pop()
            starts = [n for n, each in enumerate(kept) if isinstance(each, StepBegan)]
            if starts and kept[starts[-1]] == StepBegan(item.step):
                del kept[starts[-1] :]
    return kept


def queued(number: int, key: str | None = None) -> QueuedMessage:
    part = {"type": "text", "text": "hi", **({"client": key} if key else {})}
    return QueuedMessage(
        id=number,
        chat_id=USER.chat_id,
        content=(part,),
        model_config_id=USER.chat_id,
        created_at=USER.created_at,
    )


def queue_update(removed: list[int], added: int | None = None) -> StreamEvent:
    data = {"queue_length": 0, "added": added, "removed": removed, "head": None}
    return StreamEvent(_E.QUEUE_UPDATE, data)


def test_queued_message_waits_and_then_begins() -> None:
    reader = TurnItemReader(Turn(queued_id=5))
    waiting = snapshot(Status.RUNNING, queue=(queued(4), queued(5)))
    assert reader.read_snapshot(waiting) == [Queued(2)]
    other = message(9, Role.USER, *queued(4).content)
    answer = message(8, Role.ASSISTANT, {"type": "text", "text": "of another"})
    mine = message(12, Role.USER, *queued(5).content)
    assert reader.read_event(StreamEvent(_E.MESSAGE, answer)) == []
    assert reader.read_event(StreamEvent(_E.MESSAGE, other)) == []
    assert reader.read_event(queue_update([4])) == [Queued(1)]
    assert reader.read_event(StreamEvent(_E.MESSAGE, mine)) == []
    assert reader.read_event(queue_update([5])) == [TurnBegan(mine)]


def test_queued_message_is_found_in_the_history_by_its_key() -> None:
    reader = TurnItemReader(Turn(queued_id=5, client_key="u1"))
    taken = snapshot(Status.WAITING, USER, message(11, Role.ASSISTANT, finish_reason="stop"))
    items = reader.read_snapshot(taken)
    assert items[0] == TurnBegan(USER)
    assert items[-1] == TurnFinished("stop")


def test_removed_queued_message_is_superseded() -> None:
    reader = TurnItemReader(Turn(queued_id=5))
    reader.read_snapshot(snapshot(Status.RUNNING, queue=(queued(5),)))
    assert reader.read_event(queue_update([5])) == [TurnSuperseded()]


def test_next_message_of_the_user_ends_the_turn() -> None:
    reader = TurnItemReader(TURN)
    later = message(12, Role.USER, {"type": "text", "text": "more"})
    reader.read_snapshot(snapshot(Status.RUNNING, USER))
    reader.read_event(StreamEvent(_E.MESSAGE, message(11, Role.ASSISTANT, finish_reason="stop")))
    assert reader.read_event(StreamEvent(_E.MESSAGE, later)) == [TurnFinished("stop")]
    assert reader.next_message == later


def ends(*events: StreamEvent, status: Status = Status.RUNNING, **columns: Any) -> TurnItem:
    """Return how a turn ends, with one message of each of the stored ones before the events."""
    reader = TurnItemReader(TURN)
    items = list(reader.read_snapshot(snapshot(status, USER, **columns)))
    for event in events:
        items += reader.read_event(event)
    return items[-1]


def test_ends_of_a_turn() -> None:
    waiting = StreamEvent(_E.STATUS, {"status": Status.WAITING, "epoch": 1})
    failed = StreamEvent(_E.STATUS, {"status": Status.ERROR, "epoch": 1})
    error = StreamEvent(
        _E.ERROR, {"last_error": "No.", "last_error_detail": {"kind": "overloaded"}}
    )
    results = message(11, Role.TOOL, {"type": "tool-result", "tool_call_id": "c", "result": 1})
    asked = StreamEvent(_E.ACTION_REQUIRED, {"calls": [{"tool_call_id": "c"}], "deadline": None})
    assert ends(waiting) == TurnInterrupted()
    assert ends(StreamEvent(_E.MESSAGE, results), waiting) == TurnInterrupted()
    assert ends(error, failed) == TurnFailed("overloaded", "No.")
    assert ends(asked) == ActionRequired([{"tool_call_id": "c"}], None)  # type: ignore[arg-type]
    assert ends(StreamEvent(_E.HISTORY_RESET, {"from_message_id": 10})) == TurnSuperseded()
    assert ends(StreamEvent(_E.DELETED, {})) == ChatDeleted()
    stored_error = {"last_error": "No.", "last_error_detail": {"kind": "overloaded"}}
    assert ends(status=Status.ERROR, **stored_error) == TurnFailed("overloaded", "No.")


def test_turn_whose_message_is_gone_is_superseded() -> None:
    reader = TurnItemReader(Turn(message_id=9))
    assert reader.read_snapshot(snapshot(Status.RUNNING, USER)) == [TurnSuperseded()]
