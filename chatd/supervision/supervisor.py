"""The tree: which children there are, in which order they start and stop, and when to give up."""

import random as _random
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import structlog

from chatd.supervision.actor import ChildSpec, Restart
from chatd.supervision.budget import Backoff, Budget
from chatd.supervision.keeper import ChildSnapshot, Keeper

_log = structlog.get_logger()


class Supervisor:
    """Runs children one for one: started in order, restarted apart, stopped in reverse order.

    At most ``restarts`` restarts of all children together are forgiven in any ``window_seconds``. A
    child that stayed up for ``calm_seconds`` backs off from the start again. One that is not ready
    ``start_seconds`` after its start has failed.
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
        calm_seconds: float = 30.0,
        start_seconds: float = 30.0,
        clock: Callable[[], float] = anyio.current_time,
        random: Callable[[], float] = _random.random,
    ) -> None:
        _check(children)
        self.name = name
        self._halt = anyio.Event()
        self._reason: Exception | None = None
        self._keepers: dict[str, Keeper] = {}
        budget = partial(Budget, window_seconds=window_seconds, clock=clock)
        backoff = partial(Backoff, first_seconds=backoff_seconds, max_seconds=backoff_max_seconds)
        shared = budget(restarts=restarts)
        last: Keeper | None = None
        for spec in children:
            direct = [self._keepers[need] for need in spec.needs]
            self._keepers[spec.name] = last = Keeper(
                spec,
                before=last,
                needs=tuple(dict.fromkeys(far for near in direct for far in (*near.needs, near))),
                budget=shared if spec.restarts is None else budget(restarts=spec.restarts),
                backoff=backoff(random=random),
                calm_seconds=calm_seconds,
                start_seconds=start_seconds,
                clock=clock,
                escalate=self._escalate,
            )
        # Each child settles after the one before it, so the last one speaks for all.
        self.ready = last.settled if last is not None else _already()

    async def run(self) -> None:
        """Run the children until ``stop``; raise what no restart could cure."""
        async with anyio.create_task_group() as group:
            for name, keeper in self._keepers.items():
                group.start_soon(keeper.keep, name=f"{self.name}/{name}")
            try:
                await self._halt.wait()
                await self._stop_children(politely=True)
            except anyio.get_cancelled_exc_class():
                await self._stop_children_now()
                raise
        if self._reason is not None:
            raise self._reason

    def stop(self) -> None:
        """Ask for the orderly stop; returns at once, and may be called again."""
        if not self._halt.is_set():
            _log.info("supervisor.stopping", supervisor=self.name)
            self._halt.set()

    def snapshot(self) -> tuple[ChildSnapshot, ...]:
        """How each child is doing, in the order of their start."""
        return tuple(keeper.snapshot() for keeper in self._keepers.values())

    async def _stop_children(self, *, politely: bool) -> None:
        for keeper in reversed(self._keepers.values()):
            await keeper.stop(politely=politely)

    async def _stop_children_now(self) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._stop_children(politely=False)
        finally:
            # A second native cancel pierces anyio's shields: then the order no longer matters.
            for keeper in self._keepers.values():
                keeper.cancel()

    def _escalate(self, reason: Exception) -> None:
        if not self._halt.is_set():  # an orderly stop stays one, whatever fails on the way
            _log.error("supervisor.escalated", supervisor=self.name, exc_info=reason)
            self._reason = reason
            self.stop()


def _check(children: Sequence[ChildSpec]) -> None:
    seen: dict[str, Restart] = {}
    for spec in children:
        if spec.name in seen:
            raise ValueError(f"two children are called {spec.name}")
        for need in spec.needs:
            if seen.get(need) is not Restart.PERMANENT:
                raise ValueError(f"{spec.name} needs {need}, no earlier permanent sibling")
        seen[spec.name] = spec.restart


def _already() -> anyio.Event:
    event = anyio.Event()
    event.set()
    return event
