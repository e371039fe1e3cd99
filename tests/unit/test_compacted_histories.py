"""Properties of compactions of random histories: what the model is shown then is whole, and shorter."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from support.provider_cases import message, text_part
from support.random_histories import RandomChat

from chatd.domain.message import Message, Role, pending_tool_calls, text_of
from chatd.domain.request_size import message_tokens
from chatd.llm.context_window import ContextWindow
from chatd.worker.compaction.boundary import Split, split, unanswered
from chatd.worker.compaction.need import MAX_TRIES, CompactionNeed, CompactionReason
from chatd.worker.compaction.pruning import prune_boundary, pruned_view
from chatd.worker.compaction.summary import stored_summary, summary_message, view_after
from chatd.worker.compaction.tries import history_tokens, request_length, summary_request

seeds = st.integers(0, 100_000)
numbers = st.integers(1, MAX_TRIES)


def grown(message: Message, size: int) -> Message:
    """Return a message whose texts and results are so many times as long."""
    return replace(
        message,
        content=tuple(
            {**part, **{key: str(part[key]) * size for key in ("text", "result") if key in part}}
            if part["type"] in {"text", "tool-result"}
            else part
            for part in message.content
        ),
    )


def history_of(seed: int, size: int = 60) -> tuple[Message, ...]:
    chat = RandomChat(seed, allows=lambda *_: True)
    chat.run(16)
    return tuple(grown(each, size) for each in chat.history)


def compacted(
    history: Sequence[Message], number: int = 1, *, tokens: int | None = None
) -> tuple[Split, Sequence[Message]] | None:
    """Return what a try covers of a history that fills its window, and the history with its summary."""
    size = history_tokens(tuple(history), None)
    window = ContextWindow.of(max(tokens or size, 40), max_output_tokens=None, percent=80)
    need = CompactionNeed(CompactionReason.SIZE, size, window)
    request = summary_request(
        number,
        tuple(history),
        need,
        pruned_through=None,
        writer_window=window,
        instructions="",
    )
    if request is None:
        return None
    text = summary_message("what was", request.split, request_length=request_length(window))
    return request.split, view_after(request.split, stored_summary(text, request.split))


def check_pairs(history: Sequence[Message]) -> None:
    """Check that each result has its call before it, in the message before, and no call is left open."""
    for before, after in pairwise(history):
        if after.role is Role.TOOL and before.role is not Role.TOOL:
            calls = [p["tool_call_id"] for p in before.content if p["type"] == "tool-call"]
            assert {p["tool_call_id"] for p in after.content} <= set(calls)
    dialogue = [each for each in history if each.role is not Role.SYSTEM]
    assert dialogue[0].role is Role.USER, "it begins with a message of the user, or a summary"


@given(seed=seeds, number=numbers)
def test_view_after_a_summary_is_whole_and_smaller(seed: int, number: int) -> None:
    history = history_of(seed)
    found = compacted(history, number)
    if found is None:
        return
    _, view = found
    check_pairs(view)
    assert pending_tool_calls(view) == pending_tool_calls(history)
    shown = {id(each) for each in view}
    assert all(id(each) in shown for each in unanswered(history)), "they are never covered"
    assert all(id(each) in shown for each in history if each.role is Role.SYSTEM)
    assert sum(map(message_tokens, view)) < sum(map(message_tokens, history))


def test_histories_are_such_that_some_are_compacted() -> None:
    found = [compacted(history_of(seed), number) for seed in range(20) for number in (1, 2, 3)]
    assert sum(each is not None for each in found) > 10
    assert any(each[0].tail for each in found if each is not None)


@given(seed=seeds, number=numbers)
def test_covered_and_tail_are_all_messages(seed: int, number: int) -> None:
    history = history_of(seed)
    found = compacted(history, number)
    if found is None:
        return
    parts, _ = found
    assert sorted((*parts.system, *parts.covered, *parts.tail), key=lambda m: m.id) == list(history)
    assert all(each.id <= parts.covers_until for each in parts.covered)
    assert all(each.id > parts.covers_until for each in parts.tail)


@given(seed=seeds, first=numbers, second=numbers)
def test_second_summary_replaces_the_first_and_covers_more(
    seed: int, first: int, second: int
) -> None:
    once = compacted(history_of(seed), first)
    if once is None:
        return
    parts, view = once
    summary = next(each for each in view if each.covers_until is not None)
    later = (
        *view,
        message(summary.id + 1, Role.ASSISTANT, text_part("well " * 9000)),
        message(summary.id + 2, Role.USER, text_part("go on")),
    )
    again = compacted(later, second)
    if again is None:
        return
    assert again[0].previous is summary
    assert again[0].covers_until > parts.covers_until
    assert sum(each.covers_until is not None for each in again[1]) == 1
    check_pairs(again[1])


@given(seed=seeds, usable=st.integers(100, 20_000))
def test_pruned_view_keeps_all_but_old_results(seed: int, usable: int) -> None:
    history = history_of(seed)
    boundary = prune_boundary(history, pruned_through=None, usable=usable, excess=0)
    if boundary is None:
        return
    view = pruned_view(history, boundary)
    check_pairs(view)
    assert [(m.id, m.role) for m in view] == [(m.id, m.role) for m in history]
    for shown, stored in zip(view, history, strict=True):
        if stored.id > boundary or stored.role is not Role.TOOL:
            assert shown is stored
    freed = history_tokens(history, None) - history_tokens(history, boundary)
    assert freed >= usable / 10
    again = prune_boundary(history, pruned_through=boundary, usable=usable, excess=0)
    assert again is None or again > boundary


@given(seed=seeds, number=numbers, boundary=st.integers(0, 40))
def test_messages_before_new_ones_stay_as_they_were(seed: int, number: int, boundary: int) -> None:
    """Two requests have the same beginning unless a compaction lies between, so that it stays cached."""
    history = history_of(seed)
    for end in range(len(history)):
        before = pruned_view(history[:end], boundary)
        assert pruned_view(history[: end + 1], boundary)[:end] == before


@given(seed=seeds)
def test_request_that_is_covered_stands_word_for_word(seed: int) -> None:
    """A summary in the middle of a turn has the message that is being answered, and the steps so far."""
    question = message(1, Role.USER, text_part("The question of the turn."))
    call = {"type": "tool-call", "tool_call_id": "c", "tool_name": "t", "args": "{}"}
    result = {
        "type": "tool-result",
        "tool_call_id": "c",
        "tool_name": "t",
        "result": "r" * 3000,
        "is_error": False,
    }
    steps = seed % 7 + 2
    history = [question]
    for number in range(2, 2 + 2 * steps, 2):
        history += [message(number, Role.ASSISTANT, call), message(number + 1, Role.TOOL, result)]
    parts = split(history, tail_tokens=0)
    assert parts is not None
    summary = stored_summary(summary_message("s", parts, request_length=500), parts)
    assert "The question of the turn." in text_of(summary.content[1:])
    assert summary.content[1]["steps"] == steps - 1
    number = summary.id + 1
    later = [
        *view_after(parts, summary),
        message(number, Role.ASSISTANT, call),
        message(number + 1, Role.TOOL, result),
    ]
    again = split(later, tail_tokens=0)
    assert again is not None
    second = summary_message("s", again, request_length=500)
    assert "The question of the turn." in text_of(second.content[1:])
    assert second.content[1]["steps"] == steps
