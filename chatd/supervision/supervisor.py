"""Supervisor: starts and stops children in order, and escalates what restarts cannot cure."""

import random as _random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from chatd.supervision.backoff import Backoff
from chatd.supervision.child import ChildSpec, FatalError, Restart
from chatd.supervision.child_supervisor import ChildSnapshot, ChildSupervisor
from chatd.supervision.restart_budget import RestartBudget

_log = structlog.get_logger()


class Supervisor:
    """Supervisor one for one: children start in order, restart alone, and stop in reverse order.

    ``replace`` has some of them come and go meanwhile.

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
        self._leaving: dict[ChildSupervisor, anyio.CancelScope] = {}
        self._group: TaskGroup | None = None
        self._budget = partial(RestartBudget, window_seconds=window_seconds, clock=clock)
        self._backoff = partial(
            Backoff, first_seconds=backoff_seconds, max_seconds=backoff_max_seconds, random=random
        )
        self._shared_budget = self._budget(restarts=restarts)
        self._options: dict[str, Any] = {
            "stable_after_seconds": stable_after_seconds,
            "start_timeout_seconds": start_timeout_seconds,
            "clock": clock,
        }
        last: ChildSupervisor | None = None
        for spec in children:
            self._children[spec.name] = last = self._supervise(spec, previous=last)
        # Each child starts after the one before it, so once the last has started, all have.
        self.ready = last.started if last is not None else _already_set_event()

    async def run(self) -> None:
        """Run the children until ``stop``. Raise what no restart could cure."""
        async with anyio.create_task_group() as group:
            self._group = group
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

    def replace(
        self,
        leaving: Mapping[str, Callable[[], Awaitable[None]]],
        coming: Sequence[ChildSpec],
        *,
        before: str,
    ) -> None:
        """Have children come and go while the others run. It returns at once.

        Those that leave, by name, are stopped when the function beside them returns. Those that come start
        at once. They are not essential, no other depends on them, and they stop right after the child
        ``before``.
        """
        if self._group is None or self._stop_requested.is_set():
            return
        for name, wait in leaving.items():
            child = self._children.pop(name)
            self._leaving[child] = anyio.CancelScope()
            self._group.start_soon(self._remove, child, wait)
        added = {spec.name: self._supervise(spec, previous=None) for spec in coming}
        order = list(self._children.items())
        place = next(n for n, (name, _) in enumerate(order) if name == before)
        self._children = dict([*order[:place], *added.items(), *order[place:]])
        for name, child in added.items():
            self._group.start_soon(child.run, name=f"{self.name}/{name}")

    async def _remove(self, child: ChildSupervisor, wait: Callable[[], Awaitable[None]]) -> None:
        with self._leaving[child]:
            await wait()
        await child.stop(graceful=True)
        await child.ended.wait()
        del self._leaving[child]

    def snapshot(self) -> tuple[ChildSnapshot, ...]:
        """Return the state of each child, in the order of their start."""
        return tuple(child.snapshot() for child in self._children.values())

    def _supervise(self, spec: ChildSpec, *, previous: ChildSupervisor | None) -> ChildSupervisor:
        direct = [self._children[name] for name in spec.depends_on]
        own_budget = None if spec.restarts is None else self._budget(restarts=spec.restarts)
        return ChildSupervisor(
            spec,
            previous=previous,
            dependencies=_transitive_dependencies(direct),
            budget=own_budget or self._shared_budget,
            backoff=self._backoff(),
            escalate=self._escalate,
            **self._options,
        )

    async def _stop_children(self, *, graceful: bool) -> None:
        for child in reversed([*self._leaving, *self._children.values()]):
            await child.stop(graceful=graceful)
        for scope in self._leaving.values():
            scope.cancel()

    async def _stop_children_now(self) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._stop_children(graceful=False)
        finally:
            # A second native cancellation passes anyio's shields: then the order no longer matters.
            for child in (*self._children.values(), *self._leaving):
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
