"""The protocol of leases and transitions, explored whole: two workers, two chats, and faults."""

from dataclasses import replace
from typing import Any

import pytest
from model.explorer import InvariantBroken, explore
from model.protocol import Rules, is_at_rest
from model.steps import all_steps, start

AS_IT_IS = Rules()
SMALL = replace(AS_IT_IS, user_actions=(1,), faults=1)


def explored(rules: Rules) -> int:
    return explore(start(rules), all_steps(rules), is_at_rest)


@pytest.mark.parametrize(
    "rules",
    [
        replace(AS_IT_IS, user_actions=(1, 0), faults=1),
        replace(AS_IT_IS, user_actions=(1,), faults=2),
        replace(SMALL, user_actions=(2,)),
        replace(SMALL, pooled=True),
    ],
    ids=["two chats", "two faults", "two actions", "pooled"],
)
def test_protocol_holds(rules: Rules) -> None:
    assert explored(rules) > 1_000


@pytest.mark.parametrize(
    ("broken", "violation"),
    [
        ({"fence_by_epoch": False, "faults": 2}, "one writer"),
        ({"fence_by_step": False}, "no doubled answer"),
        ({"needs_evidence": False}, "a living worker keeps its chats"),
        ({"looks_needed": 1}, "a living worker keeps its chats"),
        ({"pooled": True, "lock_needs_proof": False}, "a living worker keeps its chats"),
        ({"gives_up_deaf_tasks": False}, "never comes to rest"),
        ({"returns_unknown_claims": False}, "never comes to rest"),
        ({"wakes_parked_chats": False}, "never comes to rest"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_broken_protocol_is_noticed(broken: dict[str, Any], violation: str) -> None:
    with pytest.raises(InvariantBroken) as noticed:
        explored(replace(SMALL, **broken))
    assert noticed.value.violation == violation, str(noticed.value)
