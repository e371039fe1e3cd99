"""Local copy of a chat, event by event."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatd.client import (
    ActionRequired,
    ChatDeleted,
    ChatEvent,
    ChatUpdated,
    HistoryCompacted,
    HistoryReset,
    MessagePart,
    MessageStored,
    PreviewReset,
    QueueChanged,
    RetryScheduled,
    Snapshot,
    StatusChanged,
    ToolCallsChanged,
    Transcript,
    TurnFailed,
)
from chatd.domain.message import fold


def chat(**more: Any) -> Any:
    return {
        "id": "c",
        "status": "running",
        "title": "",
        "last_error": None,
        "queue_length": 0,
    } | more


def message(number: int, role: str = "user", text: str = "x") -> Any:
    return {"id": number, "role": role, "content": [{"type": "text", "text": text}]}


def snapshot(*messages: Any, parts: Any = (), queue: Any = (), **more: Any) -> Snapshot:
    return Snapshot(
        {"chat": chat(**more), "messages": [*messages], "queue": [*queue], "parts": [*parts]}
    )


def part(text: str, index: int = 0) -> Any:
    return {"index": index, "type": "text", "text": text}


def seen(*events: ChatEvent) -> Transcript:
    transcript = Transcript()
    for event in events:
        transcript.apply(event)
    return transcript


FRAGMENTS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"index": st.integers(0, 2), "type": st.just("text"), "text": st.text(max_size=3)}
        ),
        st.fixed_dictionaries(
            {"index": st.integers(3, 4), "type": st.just("tool-call"), "args": st.text(max_size=3)},
            optional={"tool_call_id": st.text(max_size=3), "tool_name": st.text(max_size=3)},
        ),
    ),
    max_size=12,
)


@given(FRAGMENTS, st.integers(0, 12))
def test_preview_equals_the_stored_message(fragments: Any, place: int) -> None:
    """The number of parts in the snapshot does not matter."""
    events = [MessagePart(one) for one in fragments[place:]]
    assert seen(snapshot(parts=fragments[:place]), *events).preview == [*fold(fragments)]


def test_stored_answer_replaces_the_preview() -> None:
    transcript = seen(snapshot(message(1)), MessagePart(part("Hel")), MessagePart(part("lo")))
    assert transcript.preview_text == "Hello"
    transcript.apply(MessageStored(message(2, "user")))
    assert transcript.preview_text == "Hello"
    transcript.apply(MessageStored(message(3, "assistant", "Hello.")))
    assert transcript.preview_text == ""
    assert [each["id"] for each in transcript.messages] == [1, 2, 3]


def test_preview_reset_clears_the_preview() -> None:
    transcript = seen(
        snapshot(), MessagePart(part("Hel")), PreviewReset({}), MessagePart(part("A"))
    )
    assert transcript.preview_text == "A"


def test_history_reset_drops_later_messages_and_the_preview() -> None:
    before = [snapshot(*map(message, (1, 4, 5, 9))), MessagePart(part("Hel"))]
    transcript = seen(*before, HistoryReset({"from_message_id": 5}), MessageStored(message(10)))
    assert [each["id"] for each in transcript.messages] == [1, 4, 10]
    assert transcript.preview == []


def test_compaction_marks_the_messages_that_the_model_is_not_shown() -> None:
    before = snapshot(message(1, "system"), *map(message, (4, 5, 9)))
    transcript = seen(before, HistoryCompacted({"compacted_until": 5}))
    marks = {each["id"]: each["compacted"] for each in transcript.messages}
    assert marks == {1: False, 4: True, 5: True, 9: False}
    transcript.apply(HistoryCompacted({"compacted_until": 4}))
    assert [each["id"] for each in transcript.messages if each["compacted"]] == [4]


def test_error_stays_until_the_status_changes() -> None:
    failure: Any = {"last_error": "no", "last_error_detail": {"kind": "auth"}}
    failed = [snapshot(), TurnFailed(failure), StatusChanged({"status": "error", "epoch": 1})]
    transcript = seen(*failed)
    assert transcript.chat is not None
    assert (transcript.status, transcript.chat["last_error"]) == ("error", "no")
    assert transcript.idle
    transcript.apply(StatusChanged({"status": "pending", "epoch": 1}))
    assert transcript.chat["last_error"] is None
    assert not transcript.idle


def test_queue_follows_queue_changed() -> None:
    transcript = seen(snapshot(queue=[{"id": 1}, {"id": 2}, {"id": 3}], queue_length=3))
    transcript.apply(QueueChanged({"queue_length": 2, "added": None, "removed": [1], "head": 3}))
    assert [each["id"] for each in transcript.queue] == [3, 2]
    transcript.apply(QueueChanged({"queue_length": 3, "added": 4, "removed": [], "head": None}))
    assert transcript.queue_length == 3


def test_status_change_clears_action_required_and_retry() -> None:
    retry: Any = {"attempt": 1, "delay_seconds": 1.0, "next_attempt_at": "", "failure": {}}
    assert seen(snapshot(), RetryScheduled(retry)).retry == retry
    assert seen(snapshot(), RetryScheduled(retry), MessagePart(part("A"))).retry is None
    action: Any = {"calls": [{"tool_call_id": "1", "tool_name": "f", "args": {}}], "deadline": ""}
    waits = [snapshot(), ActionRequired(action)]
    stands = StatusChanged({"status": "requires_action", "epoch": 1})
    assert seen(*waits, stands).action_required == action
    assert seen(Snapshot({**snapshot().data, "action_required": action})).action_required == action
    goes_on = StatusChanged({"status": "pending", "epoch": 1})
    assert seen(*waits, stands, goes_on).action_required is None


def test_snapshot_replaces_everything() -> None:
    transcript = seen(snapshot(message(1), parts=[part("a")]), snapshot(title="t"))
    assert transcript.messages == []
    assert transcript.preview == []
    transcript.apply(ChatUpdated({"title": "new", "labels": {"a": "b"}, "archived": True}))
    assert transcript.chat is not None
    assert (transcript.chat["title"], transcript.chat["archived"]) == ("new", True)
    transcript.apply(ChatDeleted({"id": "c"}))
    assert transcript.deleted


def calls_message(number: int) -> Any:
    calls = [
        {"type": "tool-call", "tool_call_id": f"c{n}", "tool_name": "f", "args": "{}"}
        for n in range(2)
    ]
    return {"id": number, "role": "assistant", "content": calls}


def tool_progress(text: str, **more: Any) -> Any:
    return {"type": "tool-progress", "index": 0, "tool_call_id": "c0", "text": text, **more}


def test_running_calls_have_their_progress_until_the_results_are_stored() -> None:
    transcript = seen(snapshot(calls_message(1), parts=[tool_progress("a")]))
    transcript.apply(MessagePart(tool_progress("b" * 20_000, progress=1.0, total=2.0)))
    closed: Any = [{"tool_call_id": "c1", "tool_name": "f", "is_error": True}]
    transcript.apply(ToolCallsChanged({"closed": closed, "started": []}))
    first, second = transcript.running_calls
    assert (first.text, first.progress, first.total) == ("b" * 16 * 1024, 1.0, 2.0)
    assert (first.ended, second.ended, second.is_error) == (False, True, True)
    assert transcript.preview == []
    transcript.apply(MessageStored(message(2, "tool")))
    assert transcript.running_calls == []
    again = seen(snapshot(calls_message(1)), MessageStored(calls_message(3)))
    assert [call.text for call in again.running_calls] == ["", ""]
    again.apply(StatusChanged({"status": "error", "epoch": 1}))
    assert again.running_calls == []
