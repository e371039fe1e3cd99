"""The tree: which children there are, in which order they start and stop, and when to give up."""

import random as _random
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import structlog

from chatd.supervision.backoff import Backoff
from chatd.supervision.child import ChildSpec, Restart
from chatd.supervision.child_supervisor import ChildSnapshot, ChildSupervisor
from chatd.supervision.restart_budget import RestartBudget

_log = structlog.get_logger()


class Supervisor:
    """Runs children one for one: started in order, restarted apart, stopped in reverse order.

    At most ``actor_restarts`` restarts of all children together are forgiven in any ``window_seconds``. A
    child that stayed up for ``stable_after_seconds`` backs off from the start again. One that is not ready
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
        shared = budget(restarts=restarts)
        last: ChildSupervisor | None = None
        for spec in children:
            direct = [self._children[need] for need in spec.depends_on]
            self._children[spec.name] = last = ChildSupervisor(
                spec,
                previous=last,
                dependencies=tuple(
                    dict.fromkeys(far for near in direct for far in (*near.dependencies, near))
                ),
                budget=shared if spec.restarts is None else budget(restarts=spec.restarts),
                backoff=backoff(random=random),
                stable_after_seconds=stable_after_seconds,
                start_timeout_seconds=start_timeout_seconds,
                clock=clock,
                escalate=self._escalate,
            )
        # Each child settles after the one before it, so the last one speaks for all.
        self.ready = last.started if last is not None else _already_set_event()

    async def run(self) -> None:
        """Run the children until ``stop``; raise what no restart could cure."""
        async with anyio.create_task_group() as group:
            for name, keeper in self._children.items():
                group.start_soon(keeper.run, name=f"{self.name}/{name}")
            try:
                await self._stop_requested.wait()
                await self._stop_children(graceful=True)
            except anyio.get_cancelled_exc_class():
                await self._stop_children_now()
                raise
        if self._escalated_error is not None:
            raise self._escalated_error

    def stop(self) -> None:
        """Ask for the orderly stop; returns at once, and may be called again."""
        if not self._stop_requested.is_set():
            _log.info("supervisor.stopping", supervisor=self.name)
            self._stop_requested.set()

    def snapshot(self) -> tuple[ChildSnapshot, ...]:
        """How each child is doing, in the order of their start."""
        return tuple(keeper.snapshot() for keeper in self._children.values())

    async def _stop_children(self, *, graceful: bool) -> None:
        for keeper in reversed(self._children.values()):
            await keeper.stop(graceful=graceful)

    async def _stop_children_now(self) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._stop_children(graceful=False)
        finally:
            # A second native cancel pierces anyio's shields: then the order no longer matters.
            for keeper in self._children.values():
                keeper.cancel()

    def _escalate(self, reason: Exception) -> None:
        if (
            not self._stop_requested.is_set()
        ):  # an orderly stop stays one, whatever fails on the way
            _log.error("supervisor.escalated", supervisor=self.name, exc_info=reason)
            self._escalated_error = reason
            self.stop()


def _check_specs(children: Sequence[ChildSpec]) -> None:
    seen: dict[str, Restart] = {}
    for spec in children:
        if spec.name in seen:
            raise ValueError(f"two children are called {spec.name}")
        for need in spec.depends_on:
            if seen.get(need) is not Restart.PERMANENT:
                raise ValueError(f"{spec.name} needs {need}, no earlier permanent sibling")
        seen[spec.name] = spec.restart


def _already_set_event() -> anyio.Event:
    event = anyio.Event()
    event.set()
    return event
