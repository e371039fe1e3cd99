"""Explicit-state model checker: explores every state that a protocol can reach.

It checks invariants on each step, and that the protocol comes to rest once faults stop: in the graph
without faults, every state must have a path to a state at rest. With fair scheduling it is then reached.
"""

import gc
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)

MAX_STATES = 1_000_000
"""Bound of an exploration, some 2 GB. A model beyond it needs smaller budgets, not more memory."""


class Step(NamedTuple, Generic[S]):
    """A step of the protocol. ``violation`` names the invariant that it breaks, if any."""

    name: str
    state: S
    is_fault: bool = False
    violation: str | None = None


class InvariantBroken(AssertionError):
    """A step that breaks an invariant, or a state that never comes to rest, with the way there."""

    def __init__(self, violation: str, path: Iterable[str]) -> None:
        self.violation, self.path = violation, tuple(path)
        super().__init__("\n  ".join([violation, *self.path]))


def explore(
    start: S, steps: Callable[[S], Iterator[Step[S]]], is_at_rest: Callable[[S], bool]
) -> int:
    """Return the number of reachable states.

    Raise ``InvariantBroken`` with the shortest path to a violation.
    """
    with _no_garbage_collection():
        return _explore(start, steps, is_at_rest)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Leave out collections, which would traverse a million states again and again. None is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _explore(
    start: S, steps: Callable[[S], Iterator[Step[S]]], is_at_rest: Callable[[S], bool]
) -> int:
    came_from: dict[S, tuple[S, str] | None] = {start: None}
    without_faults: dict[S, list[S]] = {}  # the states before each, by a step that is no fault
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for step in steps(state):
            if step.violation is not None:
                raise InvariantBroken(step.violation, [*_path(came_from, state), step.name])
            if not step.is_fault:
                without_faults.setdefault(step.state, []).append(state)
            if step.state not in came_from:
                came_from[step.state] = (state, step.name)
                queue.append(step.state)
                assert len(came_from) <= MAX_STATES, "the model is too large to explore"
    restless = _cannot_reach(came_from, without_faults, is_at_rest)
    if restless is not None:
        raise InvariantBroken("never comes to rest", _path(came_from, restless))
    return len(came_from)


def _cannot_reach(
    states: Iterable[S], before: dict[S, list[S]], is_goal: Callable[[S], bool]
) -> S | None:
    """Return the first of ``states`` from which no goal can be reached."""
    reaching = {state for state in states if is_goal(state)}
    queue = deque(reaching)
    while queue:
        for state in before.get(queue.popleft(), ()):
            if state not in reaching:
                reaching.add(state)
                queue.append(state)
    return next((state for state in states if state not in reaching), None)


def _path(came_from: dict[S, tuple[S, str] | None], state: S) -> list[str]:
    names: list[str] = []
    while (step := came_from[state]) is not None:
        state, name = step
        names.append(name)
    return names[::-1]
