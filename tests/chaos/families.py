"""Agents that the model starts: what it tells them, and what it does while it waits for them."""

import json
import random
from typing import Any

from chaos.offered_tools import Call
from chatd.domain.tool_choice import (
    INTERRUPT_AGENT,
    MESSAGE_AGENT,
    SPAWN_AGENT,
    WAIT_AGENT,
)

WISH = "[agents]"
MAX_WAIT_SECONDS = 20.0
"""``agents.max_wait_seconds`` of the replicas."""
_FIRST_NUMBER = 1_000_000
"""Number of the first message that the model sends. Clients send fewer."""
_CALLS = 10
"""More than an answer has calls."""
_TASKS = {"": 4, " [long]": 2, " [server]": 2, f" {WISH}": 1}
"""What an agent is asked for, by weight."""


def agent_calls(number: int, results: list[str], choose: random.Random) -> list[Call]:
    """Return what an answer calls that works with agents, after these results: nothing in the end."""
    if not results:
        return [_spawn(number, index, choose) for index in range(choose.randint(1, 3))]
    found = [read for text in results if isinstance(read := _json(text), dict)]
    ids = [str(each["id"]) for each in found if "name" in each]
    if not ids or any("agents" in each for each in found):
        return []
    wait = {"ids": ids, "until": choose.choice(["all", "all", "any"])}
    wait["seconds"] = choose.choice([3, MAX_WAIT_SECONDS])
    return [*_meanwhile(number, choose.choice(ids), choose), (WAIT_AGENT, json.dumps(wait))]


def _spawn(number: int, index: int, choose: random.Random) -> Call:
    [task] = choose.choices(list(_TASKS), list(_TASKS.values()))
    name = name_of_message(number, index)
    return SPAWN_AGENT, json.dumps({"prompt": name + task, "name": f"agent {name}"})


def _meanwhile(number: int, agent_id: str, choose: random.Random) -> list[Call]:
    """Return what an answer calls before it waits, now and then."""
    others: list[tuple[str, dict[str, Any]]] = [
        (MESSAGE_AGENT, {"id": agent_id, "text": name_of_message(number, 0)}),
        (INTERRUPT_AGENT, {"id": agent_id}),
    ]
    if choose.random() < 0.4:
        name, args = choose.choice(others)
        return [(name, json.dumps(args))]
    return []


def name_of_message(number: int, index: int) -> str:
    """Return a message that the ``number``-th answer sends, unlike every other one."""
    return f"m{_FIRST_NUMBER + number * _CALLS + index}"


def answer_that_sent(name: str) -> int | None:
    """Return the number of the answer that sent a message. None: a client sent it."""
    number = int(name.removeprefix("m"))
    return (number - _FIRST_NUMBER) // _CALLS if number >= _FIRST_NUMBER else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
