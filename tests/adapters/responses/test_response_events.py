"""Events of responses: strict types of two sources, numbers, and resuming anywhere."""

import random
from datetime import timedelta
from typing import Any

import pytest
from adapters.responses.turns import (
    AT,
    SOURCE,
    STREAM_EVENT,
    Event,
    Step,
    call,
    check_strictly,
    live,
    message,
    reasoning,
    replay,
    spell,
    text,
    voids,
)
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from chatd.adapters.turn_items import (
    ActionRequired,
    ChatDeleted,
    StepBegan,
    StepEnded,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnItem,
    TurnSuperseded,
)

ATTEMPT = 1 << 40
DONE = TurnFinished("stop")


def asked(kind: str = "result") -> ActionRequired:
    question = {**call("call_1"), "kind": kind, "message": None, "schema": None}
    return ActionRequired([question], AT + timedelta(minutes=5))


PARTS = st.lists(
    st.one_of(
        st.builds(text, st.text("ab ü🙂", max_size=6)),
        st.builds(reasoning, st.text("xy", max_size=4)),
        st.just(SOURCE),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
STEPS = st.lists(
    st.builds(Step, PARTS, st.lists(PARTS, max_size=2).map(tuple)), min_size=1, max_size=3
)
ENDS: st.SearchStrategy[TurnItem] = st.sampled_from(
    [DONE, TurnFinished("length"), TurnInterrupted(), TurnFailed("overloaded", "It is."), asked()]
)


@given(STEPS, ENDS, st.integers(0, 2**32))
def test_every_event_is_of_the_types_of_the_client(
    steps: list[Step], end: TurnItem, seed: int
) -> None:
    items = [item for piece in live(steps, end, random.Random(seed)) for item in piece]
    events, response = spell(items)
    for event in events:
        check_strictly(event)
    Response.model_validate(response, strict=True)
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    opened = [e["output_index"] for e in events if e["type"] == "response.output_item.added"]
    closed = [e["output_index"] for e in events if e["type"] == "response.output_item.done"]
    assert opened == closed == list(range(len(opened)))


@given(STEPS, ENDS, st.integers(0, 2**32))
def test_a_replay_numbers_as_the_live_stream_did(
    steps: list[Step], end: TurnItem, seed: int
) -> None:
    items = [item for piece in live(steps, end, random.Random(seed)) for item in piece]
    seen, response = spell(items)
    replayed, again = spell(replay(steps, end), voids(steps))
    assert again == response
    known = {event["sequence_number"]: event["type"] for event in seen}
    assert all(known.get(e["sequence_number"]) == e["type"] for e in replayed)


def _texts(events: list[Event]) -> dict[str, str]:
    """Return what a client has of each text, which forgets the items that were not completed."""
    texts: dict[str, str] = {}
    for event in events:
        if event["type"].endswith("_text.delta"):
            texts[event["item_id"]] = texts.get(event["item_id"], "") + event["delta"]
    return texts


@given(STEPS, ENDS, st.integers(0, 2**32), st.data())
def test_a_stream_that_was_cut_goes_on_after_its_last_event(
    steps: list[Step], end: TurnItem, seed: int, data: st.DataObject
) -> None:
    """Prefix and rest together have each text of the response once, whatever was void between them."""
    pieces = live(steps, end, random.Random(seed))
    before = data.draw(st.integers(1, len(pieces)))
    seen, _ = spell([item for piece in pieces[:before] for item in piece])
    cut = data.draw(st.integers(1, len(seen)))
    prefix = seen[:cut]
    rest, response = spell(replay(steps, end), voids(steps), after=prefix[-1]["sequence_number"])
    assert all(e["sequence_number"] > prefix[-1]["sequence_number"] for e in rest)
    texts = _texts(prefix + rest)
    for item in response["output"]:
        if item["type"] in ("message", "reasoning"):
            assert texts[item["id"]] == item["content"][0]["text"]
    ends = [e for e in prefix + rest if e["type"] == f"response.{_end_of(response)}"]
    assert len(ends) == 1


def _end_of(response: dict[str, Any]) -> str:
    status: str = response["status"]
    return "incomplete" if status == "cancelled" else status


def test_numbers_are_those_of_the_specification() -> None:
    items = replay([Step([text("Hello world")])], DONE)
    events, _ = spell(items)
    assert [(e["sequence_number"], e["type"].removeprefix("response.")) for e in events] == [
        (0, "created"),
        (2, "in_progress"),
        (3, "output_item.added"),
        (4, "content_part.added"),
        (15, "output_text.delta"),
        (16, "output_text.done"),
        (17, "content_part.done"),
        (18, "output_item.done"),
        (19, "completed"),
    ]
    rest, _ = spell(items, after=10)
    assert rest[0]["delta"] == "world"
    assert rest[0]["sequence_number"] == 15


def test_a_void_answer_is_closed_and_said_again_as_another_item() -> None:
    steps = [Step([text("Right whole")], [(text("Wrong half"),)])]
    pieces = live(steps, DONE, random.Random(1))
    events, response = spell([item for piece in pieces for item in piece])
    void = next(e for e in events if e["sequence_number"] >= ATTEMPT)
    assert void["type"] == "response.output_item.done"
    assert (void["item"]["status"], void["output_index"]) == ("incomplete", 0)
    assert void["sequence_number"] == ATTEMPT + 2
    added = [e for e in events if e["type"] == "response.output_item.added"]
    assert [e["output_index"] for e in added] == [0, 1]
    assert added[1]["item"]["id"] == added[0]["item"]["id"] + "x1"
    assert [item["id"] for item in response["output"]] == [added[1]["item"]["id"]]
    assert [e["type"] for e in events].count("response.in_progress") == 1


def test_a_resumed_stream_is_told_of_the_answer_that_became_void() -> None:
    steps = [Step([text("Right whole")], [(text("Wrong half"),)])]
    rest, _ = spell(replay(steps, DONE), voids(steps), after=8)
    assert rest[0]["type"] == "response.output_item.done"
    assert rest[0]["item"]["status"] == "incomplete"
    assert rest[0]["sequence_number"] == ATTEMPT + 2
    assert "".join(e.get("delta", "") for e in rest) == "Right whole"


def test_a_client_tool_is_called_when_the_turn_waits_for_it() -> None:
    parts = (text("I look."), call("call_1"))
    items = [*replay([Step(parts, finish_reason="tool_calls")], DONE)[:-1], asked()]
    events, response = spell(items)
    types = [e["type"].removeprefix("response.") for e in events[-5:]]
    assert types == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    function = response["output"][1]
    assert (function["call_id"], function["arguments"]) == ("call_1", '{"city": "Bern"}')
    assert function["id"].endswith("001001")


def test_a_call_of_the_server_is_not_shown() -> None:
    steps = [Step((call("call_1"),), finish_reason="tool_calls"), Step((text("21 degrees."),))]
    events, response = spell(replay(steps, DONE))
    assert "weather" not in str(events)
    assert [item["type"] for item in response["output"]] == ["message"]
    assert response["usage"]["total_tokens"] == 10


def test_an_approval_is_asked_as_one() -> None:
    items = [*replay([Step((call("call_1"),))], DONE)[:-1], asked("approval")]
    events, response = spell(items)
    for event in events:
        STREAM_EVENT.validate_python(event, strict=True)
    assert response["output"][0]["type"] == "mcp_approval_request"
    assert response["status"] == "completed"


@pytest.mark.parametrize(
    ("end", "status", "event"),
    [
        (TurnFinished("length"), "incomplete", "incomplete"),
        (TurnFinished("content_filter"), "incomplete", "incomplete"),
        (TurnInterrupted(), "cancelled", "incomplete"),
        (TurnFailed("quota", "No credit."), "failed", "failed"),
        (TurnSuperseded(), "failed", "failed"),
        (ChatDeleted(), "failed", "failed"),
        (asked("input"), "failed", "failed"),
    ],
)
def test_each_end_has_a_status_and_an_event(end: TurnItem, status: str, event: str) -> None:
    events, response = spell([StepBegan(0), StepEnded(0, message(1)), end])
    assert (response["status"], events[-1]["type"]) == (status, f"response.{event}")
    check_strictly(events[-1])
    if isinstance(end, TurnFailed):
        assert response["error"] == {"code": "rate_limit_exceeded", "message": "No credit."}


def test_sources_are_annotations_of_the_text_before_them_or_the_next_one() -> None:
    parts = (SOURCE, text("See there."), SOURCE, reasoning("hm"), SOURCE, text("And."))
    events, response = spell(replay([Step(parts)], DONE))
    counts = [len(item["content"][0].get("annotations", ())) for item in response["output"]]
    assert counts == [2, 0, 1]
    for event in events:
        check_strictly(event)
