"""Keeps one child over all its restarts."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import anyio
import structlog

from chatd.supervision.actor import ChildSpec, Fatal, Restart
from chatd.supervision.budget import Backoff, Budget
from chatd.supervision.life import Life, describe, leaves

_log = structlog.get_logger()


class State(StrEnum):
    WAITING = "waiting"  # for its turn, or for a sibling it needs
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSnapshot:
    """How one child is doing; ``since`` is when its state began, on the supervisor's clock."""

    name: str
    state: State
    since: float
    restarts: int
    budget_left: int
    last_error: str | None
    note: str


class Keeper:
    """Starts a child when its turn has come, and again when it has ended, until it is stopped.

    ``before`` and ``needs`` are the siblings it waits for, ``needed_by`` those it takes down with it.
    ``settled`` is set once the child was ready or has ended well: the next one's turn. ``up`` is set
    while it is ready. Everything happens in the one task that runs ``keep``, shielded from outside:
    a child is only ever ended through ``stop``, so that the order is the supervisor's.
    """

    _scope: anyio.CancelScope | None = None
    _life: Life | None = None
    _stopping = False
    _state = State.WAITING
    _since = 0.0
    _restarts = 0
    _last_error: str | None = None

    def __init__(
        self,
        spec: ChildSpec,
        *,
        before: "Keeper | None",
        needs: tuple["Keeper", ...],
        budget: Budget,
        backoff: Backoff,
        calm_seconds: float,
        start_seconds: float,
        clock: Callable[[], float],
        escalate: Callable[[Exception], None],
    ) -> None:
        self.spec = spec
        self.needs = needs
        self.needed_by: list[Keeper] = []
        self.settled = anyio.Event()
        self.up = anyio.Event()
        self.ended = anyio.Event()
        self._before = before
        self._budget = budget
        self._backoff = backoff
        self._calm_seconds = calm_seconds
        self._start_seconds = start_seconds
        self._clock = clock
        self._escalate = escalate
        for need in needs:
            need.needed_by.append(self)

    async def keep(self) -> None:
        """Run the child, again and again, until it has ended for good."""
        try:
            with anyio.CancelScope(shield=True) as self._scope:
                if self._before is not None:
                    await self._before.settled.wait()
                while not self._stopping:
                    await self._needs_up()
                    life = await self._live()
                    if not self._goes_on_after(life):
                        break
                    if not life.asked:
                        await self._back_off()
        finally:
            if self._state is not State.FAILED:
                self._enter(State.STOPPED)
            self.ended.set()

    async def stop(self, *, politely: bool) -> None:
        """End the child for good."""
        self._stopping = True
        if self._life is not None:
            await self.take_down(politely=politely)
        else:
            self.cancel()
            await self.ended.wait()

    async def take_down(self, *, politely: bool = True) -> None:
        """End the present life of the child, if it has one; the keeper decides what follows."""
        if self._life is not None:
            self._enter(State.STOPPING)
            if not await self._life.stop(politely=politely):
                _log.error("supervisor.child_stuck", child=self.spec.name)

    def cancel(self) -> None:
        """End everything at once, in no order."""
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
            note=self._life.child.note if self._life is not None else "",
        )

    async def _needs_up(self) -> None:
        while missing := [need for need in self.needs if not need.up.is_set()]:
            await missing[0].up.wait()

    async def _live(self) -> Life:
        life = Life(self.spec, start_seconds=self._start_seconds, on_ready=self._on_ready)
        self._life = life
        self._enter(State.STARTING)
        try:
            await life.run()
        finally:
            self._life = None
            if self.up.is_set():  # else siblings may be waiting for this very one
                self.up = anyio.Event()
        if life.error is not None:
            self._last_error = describe(life.error)
            _log.error(
                "supervisor.child_failed",
                child=self.spec.name,
                stopping=life.asked,
                exc_info=life.error,
            )
        return life

    def _on_ready(self) -> None:
        self._enter(State.RUNNING)
        self.up.set()
        self.settled.set()

    def _goes_on_after(self, life: Life) -> bool:
        """Whether there is another life after this one; if not, who is to know."""
        if life.asked:
            self._enter(State.WAITING)
            return self.spec.restart is not Restart.TEMPORARY
        error = life.error
        for leaf in leaves(error) if error is not None else ():
            if isinstance(leaf, Fatal):
                return self._give_up(leaf)
        if error is None or self.spec.restart is Restart.TEMPORARY:
            self._enter(State.STOPPED if error is None else State.FAILED)
            self.settled.set()
            return False
        if not self._budget.spend():
            return self._give_up(self._budget.exceeded(self.spec.name, error))
        return True

    def _give_up(self, reason: Exception) -> bool:
        self._enter(State.FAILED)
        self._escalate(reason)
        return False

    async def _back_off(self) -> None:
        """Take down who cannot do without the child, and wait a while before the next life."""
        if self._state is State.RUNNING and self._clock() - self._since >= self._calm_seconds:
            self._backoff.reset()
        self._enter(State.BACKING_OFF)
        for sibling in reversed(self.needed_by):
            await sibling.take_down()
        await anyio.sleep(self._backoff.next())
        self._restarts += 1
        self._enter(State.WAITING)
        _log.info("supervisor.child_restarted", child=self.spec.name, restarts=self._restarts)

    def _enter(self, state: State) -> None:
        self._state = state
        self._since = self._clock()
