"""Supervisor: starts and stops children in order, and escalates what restarts cannot cure."""

import random as _random
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import structlog

from chatd.supervision.backoff import Backoff
from chatd.supervision.child import ChildSpec, FatalError, Restart
from chatd.supervision.child_supervisor import ChildSnapshot, ChildSupervisor
from chatd.supervision.restart_budget import RestartBudget

_log = structlog.get_logger()


class Supervisor:
    """Supervisor one for one: children start in order, restart alone, and stop in reverse order.

    All children together may be restarted ``restarts`` times in any ``window_seconds``. The backoff of a
    child that was up for ``stable_after_seconds`` starts over. A child that is not ready
    ``start_timeout_seconds`` after its start has failed.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        name: str = "chatd",
        restarts: int = 5,
        window_seconds: float = 60.0,
        backoff_seconds: float = 0.1,
        backoff_max_seconds: float = 10.0,
        stable_after_seconds: float = 30.0,
        start_timeout_seconds: float = 30.0,
        clock: Callable[[], float] = anyio.current_time,
        random: Callable[[], float] = _random.random,
    ) -> None:
        _check_specs(children)
        self.name = name
        self._stop_requested = anyio.Event()
        self._escalated_error: Exception | None = None
        self._children: dict[str, ChildSupervisor] = {}
        budget = partial(RestartBudget, window_seconds=window_seconds, clock=clock)
        backoff = partial(Backoff, first_seconds=backoff_seconds, max_seconds=backoff_max_seconds)
        shared_budget = budget(restarts=restarts)
        last: ChildSupervisor | None = None
        for spec in children:
            direct = [self._children[name] for name in spec.depends_on]
            self._children[spec.name] = last = ChildSupervisor(
                spec,
                previous=last,
                dependencies=_transitive_dependencies(direct),
                budget=shared_budget if spec.restarts is None else budget(restarts=spec.restarts),
                backoff=backoff(random=random),
                stable_after_seconds=stable_after_seconds,
                start_timeout_seconds=start_timeout_seconds,
                clock=clock,
                escalate=self._escalate,
            )
        # Each child starts after the one before it, so once the last has started, all have.
        self.ready = last.started if last is not None else _already_set_event()

    async def run(self) -> None:
        """Run the children until ``stop``. Raise what no restart could cure."""
        async with anyio.create_task_group() as group:
            for name, child in self._children.items():
                group.start_soon(child.run, name=f"{self.name}/{name}")
            try:
                await self._stop_requested.wait()
                await self._stop_children(graceful=True)
            except anyio.get_cancelled_exc_class():
                await self._stop_children_now()
                raise
        if self._escalated_error is not None:
            raise self._escalated_error

    def stop(self) -> None:
        """Request the orderly stop and return at once. Repeated calls do nothing."""
        if not self._stop_requested.is_set():
            _log.info("supervisor.stopping", supervisor=self.name)
            self._stop_requested.set()

    def snapshot(self) -> tuple[ChildSnapshot, ...]:
        """Return the state of each child, in the order of their start."""
        return tuple(child.snapshot() for child in self._children.values())

    async def _stop_children(self, *, graceful: bool) -> None:
        for child in reversed(self._children.values()):
            await child.stop(graceful=graceful)

    async def _stop_children_now(self) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._stop_children(graceful=False)
        finally:
            # A second native cancellation passes anyio's shields: then the order no longer matters.
            for child in self._children.values():
                child.cancel()

    def _escalate(self, reason: Exception) -> None:
        if (
            not self._stop_requested.is_set()
        ):  # failures during an orderly stop do not change its end
            if not isinstance(reason, FatalError):  # an expected end, which the caller reports
                _log.error("supervisor.escalated", supervisor=self.name, exc_info=reason)
            self._escalated_error = reason
            self.stop()


def _check_specs(children: Sequence[ChildSpec]) -> None:
    seen: dict[str, Restart] = {}
    for spec in children:
        if spec.name in seen:
            raise ValueError(f"two children are named {spec.name}")
        for name in spec.depends_on:
            if seen.get(name) is not Restart.PERMANENT:
                raise ValueError(f"{spec.name} depends on {name}, no earlier permanent sibling")
        seen[spec.name] = spec.restart


def _transitive_dependencies(direct: Sequence[ChildSupervisor]) -> tuple[ChildSupervisor, ...]:
    """Return ``direct`` and their own dependencies, in the order of their start, each once."""
    return tuple(dict.fromkeys(child for near in direct for child in (*near.dependencies, near)))


def _already_set_event() -> anyio.Event:
    event = anyio.Event()
    event.set()
    return event
