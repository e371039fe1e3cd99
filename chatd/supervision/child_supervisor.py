"""Child supervisor: runs one child over all its restarts."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import anyio
import structlog

from chatd.supervision.backoff import Backoff
from chatd.supervision.child import ChildSpec, FatalError, Restart
from chatd.supervision.child_run import ChildRun, describe_error, flatten_group
from chatd.supervision.restart_budget import RestartBudget

_log = structlog.get_logger()


class ChildState(StrEnum):
    """State of a child, as snapshots show it."""

    WAITING = "waiting"  # for its turn, or for a sibling that it depends on
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSnapshot:
    """State of one child. ``since`` is when the state began, on the supervisor's clock."""

    name: str
    state: ChildState
    since: float
    restarts: int
    budget_left: int
    last_error: str | None
    status_note: str


class ChildSupervisor:
    """Supervisor of one child: starts it in its turn, and again after it ended, until it is stopped.

    ``previous`` and ``dependencies`` are the siblings it waits for. ``dependents`` are those it stops when
    it ends. ``started`` is set once the child was ready or ended well. The next child then starts.
    ``ready`` is set while it is ready. Everything happens in the one task that runs ``run``, shielded from
    outside: a child only ends through ``stop``, so that the supervisor determines the order.
    """

    _scope: anyio.CancelScope | None = None
    _current_run: ChildRun | None = None
    _stopping = False
    _state = ChildState.WAITING
    _since = 0.0
    _restarts = 0
    _last_error: str | None = None
    _is_suspended = False

    def __init__(
        self,
        spec: ChildSpec,
        *,
        previous: "ChildSupervisor | None",
        dependencies: tuple["ChildSupervisor", ...],
        budget: RestartBudget,
        backoff: Backoff,
        stable_after_seconds: float,
        start_timeout_seconds: float,
        clock: Callable[[], float],
        escalate: Callable[[Exception], None],
    ) -> None:
        self.spec = spec
        self.dependencies = dependencies
        self.dependents: list[ChildSupervisor] = []
        self.started = anyio.Event()
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self._previous = previous
        self._budget = budget
        self._backoff = backoff
        self._stable_after_seconds = stable_after_seconds
        self._start_timeout_seconds = start_timeout_seconds
        self._clock = clock
        self._escalate = escalate
        for dependency in dependencies:
            dependency.dependents.append(self)

    async def run(self) -> None:
        """Run the child, again after each restart, until it has ended for good."""
        try:
            with anyio.CancelScope(shield=True) as self._scope:
                if self._previous is not None:
                    await self._previous.started.wait()
                while not self._stopping:
                    await self._wait_for_dependencies()
                    child_run = await self._run_once()
                    if not self._should_restart(child_run):
                        break
                    if not child_run.stop_requested:
                        await self._back_off()
        finally:
            if self._state is not ChildState.FAILED:
                self._set_state(ChildState.STOPPED)
            self.ended.set()

    async def stop(self, *, graceful: bool) -> None:
        """End the child for good."""
        self._stopping = True
        if self._current_run is not None:
            await self.stop_current(graceful=graceful)
        else:
            self.cancel()
            await self.ended.wait()

    async def stop_current(self, *, graceful: bool = True) -> None:
        """End the current run of the child, if there is one. It may be started again."""
        if self._current_run is not None:
            self._set_state(ChildState.STOPPING)
            if not await self._current_run.stop(graceful=graceful):
                _log.error("supervisor.child_stuck", child=self.spec.name)

    def cancel(self) -> None:
        """Cancel the child at once, without regard to the order."""
        if self._scope is not None:
            self._scope.cancel()

    def snapshot(self) -> ChildSnapshot:
        return ChildSnapshot(
            name=self.spec.name,
            state=self._state,
            since=self._since,
            restarts=self._restarts,
            budget_left=self._budget.left,
            last_error=self._last_error,
            status_note=self._current_run.child.status_note
            if self._current_run is not None
            else "",
        )

    async def _wait_for_dependencies(self) -> None:
        while missing := [other for other in self.dependencies if not other.ready.is_set()]:
            await missing[0].ready.wait()

    async def _run_once(self) -> ChildRun:
        child_run = ChildRun(
            self.spec, start_timeout_seconds=self._start_timeout_seconds, on_ready=self._on_ready
        )
        self._current_run = child_run
        self._set_state(ChildState.STARTING)
        try:
            await child_run.run()
        finally:
            self._current_run = None
            if self.ready.is_set():  # otherwise siblings may be waiting for this event
                self.ready = anyio.Event()
        if child_run.error is not None:
            self._last_error = describe_error(child_run.error)
            if not all(isinstance(leaf, FatalError) for leaf in flatten_group(child_run.error)):
                _log.error(
                    "supervisor.child_failed",
                    child=self.spec.name,
                    stopping=child_run.stop_requested,
                    exc_info=child_run.error,
                )
        return child_run

    def _on_ready(self) -> None:
        self._set_state(ChildState.RUNNING)
        self.ready.set()
        self.started.set()

    def _should_restart(self, child_run: ChildRun) -> bool:
        """Return whether to restart the child. If not, record its final state or escalate."""
        if child_run.stop_requested:
            self._set_state(ChildState.WAITING)
            return self.spec.restart is not Restart.TEMPORARY
        error = child_run.error
        for leaf in flatten_group(error) if error is not None else ():
            if isinstance(leaf, FatalError):
                return self._give_up(leaf)
        if error is None or self.spec.restart is Restart.TEMPORARY:
            self._set_state(ChildState.STOPPED if error is None else ChildState.FAILED)
            self.started.set()
            return False
        if not self.spec.essential:
            self.started.set()
        if not self._budget.try_consume():
            if self.spec.essential:
                return self._give_up(self._budget.to_error(self.spec.name, error))
            self._is_suspended = True
        return True

    def _give_up(self, reason: Exception) -> bool:
        self._set_state(ChildState.FAILED)
        self._escalate(reason)
        return False

    async def _back_off(self) -> None:
        """Stop the dependents and wait for the backoff before the next run."""
        if (
            self._state is ChildState.RUNNING
            and self._clock() - self._since >= self._stable_after_seconds
        ):
            self._backoff.reset()
        self._set_state(ChildState.BACKING_OFF)
        for sibling in reversed(self.dependents):
            await sibling.stop_current()
        await anyio.sleep(self._next_delay())
        self._restarts += 1
        self._set_state(ChildState.WAITING)
        _log.info("supervisor.child_restarted", child=self.spec.name, restarts=self._restarts)

    def _next_delay(self) -> float:
        """Return the backoff, or the whole window for a child whose budget is spent."""
        if not self._is_suspended:
            return self._backoff.next_delay()
        self._is_suspended = False
        seconds = self._budget.window_seconds
        _log.error("supervisor.child_suspended", child=self.spec.name, seconds=seconds)
        return seconds

    def _set_state(self, state: ChildState) -> None:
        self._state = state
        self._since = self._clock()
