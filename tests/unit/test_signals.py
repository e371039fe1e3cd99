"""Signals of the process: received one after the other, and ignored once it has stopped."""

import os
import signal
from typing import Any

import anyio
import pytest

from chatd.daemon.signals import received_signals

FIRST, SECOND = signal.SIGUSR1, signal.SIGUSR2


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("use_uvloop", [True, False])
def test_signals_are_received_and_then_ignored(
    monkeypatch: pytest.MonkeyPatch, use_uvloop: bool
) -> None:
    """None has its default action at any moment, by which it would end the process."""
    set_action, actions = signal.signal, list[Any]()

    def record(number: signal.Signals, action: Any) -> Any:
        actions.append(action)
        return set_action(number, action)

    async def receive() -> None:
        with received_signals(FIRST, SECOND) as received:
            for number in (FIRST, SECOND, FIRST):
                send(number)
                assert await anext(received) is number
            async with anyio.create_task_group() as group:  # while the event loop waits for events
                group.start_soon(anyio.to_thread.run_sync, send, SECOND)
                with anyio.fail_after(5):
                    assert await anext(received) is SECOND
            for _ in range(1000):
                send(FIRST)
        for number in (FIRST, SECOND):
            send(number)

    monkeypatch.setattr(signal, "signal", record)
    try:
        anyio.run(receive, backend_options={"use_uvloop": use_uvloop})
        for number in (FIRST, SECOND):
            send(number)
    finally:
        monkeypatch.undo()
        for number in (FIRST, SECOND):
            signal.signal(number, signal.SIG_DFL)
    assert actions
    assert signal.SIG_DFL not in actions
