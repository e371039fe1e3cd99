"""Time lines and charts of the console, made of what the API says."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatd.console.pages.fleet.charts import CHARTS, MINUTES, by_minute, draw
from chatd.console.pages.why.timeline import WORDS, entries_of
from chatd.domain.transitions import Transition
from chatd.telemetry.history import MetricsHistory
from chatd.telemetry.metrics import Metrics

START = datetime(2026, 3, 1, tzinfo=UTC)


def entry(version: int, transition: str, *, epoch: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "version": version,
        "created_at": (START + timedelta(seconds=2 * version)).isoformat(),
        "transition": transition,
        "status": "running",
        "epoch": epoch,
        "actor": None,
        "worker_id": "b0f1a3c2-7f0e-4f7b-9a51-9f0d3b8f4c77",
        "data": {},
        **more,
    }


def test_every_transition_has_words() -> None:
    assert WORDS.keys() == set(Transition)
    [shown] = entries_of([entry(1, "of a newer version")], [])
    assert shown.words == "of a newer version"


def test_claim_after_a_reap_is_a_takeover() -> None:
    journal = [
        entry(1, "claim", epoch=1),
        entry(2, "reap", epoch=1),
        entry(3, "claim", epoch=2),
        entry(4, "release", epoch=2),
        entry(5, "claim", epoch=3),
    ]
    assert [each.words for each in entries_of(journal, [])] == [
        "A worker claimed the chat",
        "The chat was taken from a worker that died",
        "Another worker took the chat over",
        "The worker gave the chat back",
        "A worker claimed the chat",
    ]


def test_callers_are_named_and_workers_are_too() -> None:
    actor = {"owner_id": "ann", "token_id": "5bd0a6e5-6d3c-4a3e-9f0e-2f6f8c1d7a10"}
    journal = [
        entry(1, "send", actor=actor, worker_id=None),
        entry(2, "commit_step"),
        entry(3, "send", actor={"owner_id": "ann", "token_id": None}),
        entry(4, "archive", worker_id=None),
    ]
    assert [each.who for each in entries_of(journal, [])] == [
        "ann, token 5bd0a6e5", "worker b0f1a3c2", "ann", "an operator",
    ]  # fmt: skip


def test_calls_stand_at_the_entry_of_their_message_and_pauses_between() -> None:
    call = {"message_id": 7, "tool_name": "clock"}
    journal = [entry(1, "send"), entry(2, "commit_step", data={"messages": [7]})]
    first, second = entries_of(journal, [call])
    assert (first.calls, second.calls) == ([], [call])
    assert (first.after, second.after) == (None, "after 2 s")
    [alone] = entries_of(journal[1:], [], before=journal[0])
    assert alone.after == "after 2 s"


def test_failures_are_in_words() -> None:
    failure = {"message": "The model is overloaded.", "kind": "overloaded"}
    data = {"attempt": 2, "failure": failure, "delay_seconds": 3.0}
    [shown] = entries_of([entry(1, "record_retry", data=data)], [])
    assert shown.is_failure
    assert shown.facts == [
        "Attempt 2: The model is overloaded.", "The next attempt is 3.0 s later.",
    ]  # fmt: skip


@pytest.mark.parametrize("samples", [0, 1, 6, 400])
def test_minutes_are_counted_back_from_the_last_sample(samples: int) -> None:
    times = [START + timedelta(seconds=10 * number) for number in range(samples)]
    minutes = by_minute(times, [1.0] * samples, sum)
    assert len(minutes) == MINUTES
    known = [value for value in minutes if value is not None]
    assert len(known) == min(-(-samples // 6), MINUTES)
    assert set(known) <= {6.0, 1.0 * (samples % 6)}


def test_what_is_not_known_is_a_gap_in_the_line() -> None:
    times = [START + timedelta(minutes=number) for number in range(5)]
    history = _history(times, [1.0, None, 3.0, 4.0, None])
    [line, _] = draw(CHARTS[1], history).lines
    assert (len(line.pieces), line.last) == (2, "-")
    assert all(len(piece.split()) >= 2 for piece in line.pieces)


def _history(times: list[datetime], values: list[float | None]) -> Mapping[str, Any]:
    names = [name for spec in CHARTS for name in spec.series]
    return {
        "times": [time.isoformat() for time in times],
        "series": [{"name": name, "values": values} for name in names],
    }


def test_charts_show_series_that_there_are() -> None:
    history = MetricsHistory(Metrics(), now=lambda: START)
    history.sample()
    assert {name for spec in CHARTS for name in spec.series} <= {
        series.name for series in history.read().series
    }
