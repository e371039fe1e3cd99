"""A hub under random schedules: every subscriber receives everything once and in order.

The chat is worked on here and elsewhere, and hints are late, doubled or lost.
"""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hub_replica import ACTIONS, FREQUENCIES, Action, failure_of, minimize, run_actions
from support.trials import trials

from chatd.domain.stream_events import StreamEventType

CONNECTION_EVENTS = frozenset(
    {
        StreamEventType.SNAPSHOT,
        StreamEventType.DELETED,
        StreamEventType.RESET,
        StreamEventType.DRAINING,
    }
)
"""Events that no journal entry makes."""


@settings(max_examples=trials(150))
@given(st.lists(ACTIONS, max_size=80), st.booleans(), st.sampled_from([2, 5, 1000]))
def test_hub_short_schedules(actions: list[Action], lossless: bool, buffer: int) -> None:
    run_actions(actions, lossless=lossless, buffer=buffer)


@pytest.mark.parametrize("seed", range(trials(8)))
def test_hub_random_schedules(seed: int) -> None:
    """Longer schedules than hypothesis makes. A failure is reduced to the actions that it needs."""
    numbers = random.Random(seed)
    names, weights = list(FREQUENCIES), list(FREQUENCIES.values())
    event_counts: Counter[StreamEventType] = Counter()
    for _ in range(40):
        actions = [
            (name, numbers.randrange(8), numbers.randrange(5))
            for name in numbers.choices(names, weights, k=numbers.choice([60, 120, 300]))
        ]
        options: dict[str, Any] = {
            "lossless": numbers.random() < 0.5,
            "buffer": numbers.choice([5, 1000, 1000]),
        }
        if failure_of(actions, options):
            actions = minimize(actions, options)
            error = failure_of(actions, options)
            pytest.fail(f"{error!r}\nrun_actions({actions}, **{options})")
        for client in run_actions(actions, **options).clients:
            event_counts += client.event_counts
    assert event_counts[StreamEventType.MESSAGE_PART] > 200, "the schedules stream enough"
    journal_events = set(StreamEventType) - CONNECTION_EVENTS
    rare = [event_type for event_type in journal_events if event_counts[event_type] <= 5]
    assert not rare
