"""Turn: the time that it has."""

from typing import Any, cast

import anyio
import pytest
from support.chats import leased_chat
from support.providers import catalog, scripted
from support.virtual_clock import on_virtual_time

from chatd.domain.failure import FailureKind
from chatd.store.commands import Fail
from chatd.store.worker_command import WorkerCommand
from chatd.tools.registry import ToolRegistry
from chatd.worker.clock import boottime
from chatd.worker.config import TurnConfig
from chatd.worker.lease import Lease
from chatd.worker.turn import Turn
from chatd.worker.turn_limits import ToolLimits, TurnLimits
from chatd.worker.turn_services import TurnServices
from chatd.worker.worker_lease import WorkerLease

UNUSED = cast("Any", None)
TIMEOUT_SECONDS = 600.0


class SilentWriter:
    """Writer whose reads never end. It records what is stored, and when."""

    def __init__(self) -> None:
        self.applied: list[tuple[float, WorkerCommand]] = []

    def ensure_running(self) -> None:
        pass

    async def history(self) -> None:
        await anyio.sleep_forever()

    async def apply(self, command: WorkerCommand) -> None:
        self.applied.append((anyio.current_time(), command))


def turn(writer: SilentWriter) -> Turn:
    worker_lease = WorkerLease(local_lease_seconds=15.0)
    worker_lease.renewed(boottime())
    limits = TurnLimits(
        stream_idle_timeout_seconds=1,
        model_call_timeout_seconds=1,
        timeout_seconds=TIMEOUT_SECONDS,
        client_tool_timeout_seconds=1,
        max_steps=1,
        max_repeated_calls=0,
    )
    config = TurnConfig(
        catalog=catalog(scripted()),
        limits=limits,
        retry=UNUSED,
        tools=ToolRegistry(),
        tool_limits=ToolLimits(
            parallel=1, output_bytes=1, keep_bytes=0, keep_days=7, approval_seconds=1
        ),
    )
    services = TurnServices(
        turns=UNUSED,
        chats=UNUSED,
        children=UNUSED,
        change_bus=UNUSED,
        hub=UNUSED,
        flusher=UNUSED,
    )
    lease = Lease(leased_chat(), worker_lease=worker_lease)
    return Turn(services, config, lease, cast("Any", writer), UNUSED)


@pytest.mark.parametrize(
    ("seconds_left", "ends_at"),
    [(None, TIMEOUT_SECONDS), (5.0, 5.0), (0.0, 0.0), (-3.0, 0.0), (700.0, TIMEOUT_SECONDS)],
)
def test_turn_that_was_deferred_has_the_rest_of_its_time(
    seconds_left: float | None, ends_at: float
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        writer = SilentWriter()
        await turn(writer).run(seconds_left=seconds_left)
        ((at, command),) = writer.applied
        assert at == pytest.approx(ends_at, abs=0.1)
        assert isinstance(command, Fail)
        assert command.last_error_detail["kind"] == FailureKind.TIMEOUT

    scenario()
