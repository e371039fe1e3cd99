"""Facts about a process that probes, metrics and the process status report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from chatd.daemon.loop_monitor import LoopMonitor
from chatd.daemon.systemd import SystemdSocket
from chatd.supervision.child import StopRequest
from chatd.supervision.child_supervisor import ChildSnapshot
from chatd.supervision.supervisor import Supervisor

Phase = Literal["starting", "serving", "stopping"]


class ProcessState:
    """Phase of the process and snapshots of its actors.

    The parts that report it are actors themselves, so it is made before them. The supervisor is attached
    when it has been built of these actors.
    """

    def __init__(self) -> None:
        self.stop_requested = StopRequest()
        self._supervisor: Supervisor | None = None

    def attach(self, supervisor: Supervisor) -> None:
        """Report the actors of ``supervisor`` from now on."""
        self._supervisor = supervisor

    def phase(self) -> Phase:
        """Return "serving" from the moment that all actors are ready until a stop is requested."""
        if self.stop_requested.is_set():
            return "stopping"
        ready = self._supervisor is not None and self._supervisor.ready.is_set()
        return "serving" if ready else "starting"

    def not_ready_reason(self) -> str | None:
        """Return why the process does not serve, or None if it does."""
        phase = self.phase()
        return None if phase == "serving" else phase

    def actors(self) -> Sequence[ChildSnapshot]:
        """Return a snapshot of each actor, in start order."""
        return self._supervisor.snapshot() if self._supervisor is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process: its id, new at each start, its state, its event loop and its service manager."""

    worker_id: UUID
    state: ProcessState
    loop_monitor: LoopMonitor
    systemd: SystemdSocket
