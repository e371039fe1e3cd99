"""Child run: one run of a child, from its start to its end."""

import asyncio
import math
from collections.abc import Callable

import anyio

from chatd.supervision.child import ChildHandle, ChildSpec, Restart


class ChildError(Exception):
    """An end of a child that no exception of its own explains."""


class ChildRun:
    """One run of a child, which can be stopped gracefully or by cancellation.

    The time to become ready is the deadline of the child's own cancel scope. Readiness lifts it, so no
    second task has to watch. An outage suspends it: afterwards the child has the whole time again.
    """

    def __init__(
        self, spec: ChildSpec, *, start_timeout_seconds: float, on_ready: Callable[[], None]
    ) -> None:
        self.child = ChildHandle(
            spec.name, on_ready=self._lift_deadline, on_outage=self._suspend_deadline
        )
        self.error: Exception | None = None
        self._spec = spec
        self._start_timeout_seconds = start_timeout_seconds
        self._on_ready = on_ready
        self._scope = anyio.CancelScope(deadline=anyio.current_time() + start_timeout_seconds)
        self._ended = anyio.Event()

    @property
    def stop_requested(self) -> bool:
        """True if this run was asked to stop, so that its end is no failure."""
        return self.child.stopping.is_set()

    async def run(self) -> None:
        """Run the child to its end. Its exception is left in ``error``."""
        try:
            with self._scope:
                await self._spec.start(self.child)
        except Exception as error:  # noqa: BLE001 - the child supervisor handles it
            self.error = error
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            self.error = ChildError("cancelled itself")  # it awaited a task that was cancelled
        finally:
            self._ended.set()
        if self.error is None and not self.stop_requested:
            self.error = self._unexpected_end()

    async def stop(self, *, graceful: bool) -> bool:
        """Request the stop, wait, cancel and wait again. Return False if the child is stuck.

        Each wait takes at most the child's ``shutdown_seconds``.
        """
        self.child.stopping.set()
        if graceful and await self._wait_until_ended():
            return True
        self._scope.cancel()
        return await self._wait_until_ended()

    async def _wait_until_ended(self) -> bool:
        with anyio.move_on_after(self._spec.shutdown_seconds):
            await self._ended.wait()
        return self._ended.is_set()

    def _lift_deadline(self) -> None:
        self._scope.deadline = math.inf
        if not self._scope.cancel_called and not self.stop_requested:
            self._on_ready()

    def _suspend_deadline(self, ongoing: bool) -> None:
        if not self.child.is_ready:
            self._scope.deadline = (
                math.inf if ongoing else anyio.current_time() + self._start_timeout_seconds
            )

    def _unexpected_end(self) -> ChildError | None:
        if self._scope.cancel_called:
            return ChildError(f"not ready after {self._start_timeout_seconds:g} s")
        if self._spec.restart is Restart.PERMANENT:
            return ChildError("returned, though permanent")
        return None


def flatten_group(error: BaseException) -> list[BaseException]:
    """Return the exceptions that are no groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in flatten_group(inner)]
    return [error]


def describe_error(error: BaseException) -> str:
    """Return the type and text of the exception, or of the first one in a group."""
    first = flatten_group(error)[0]
    return f"{type(first).__name__}: {first}"


def is_being_cancelled() -> bool:
    """Return True if the current task itself is cancelled.

    Otherwise a ``CancelledError`` comes from something that it awaited.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
