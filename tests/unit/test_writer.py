"""Writer: which errors of the database it waits out, and for how long."""

from typing import Any, cast

import anyio
import pytest
from support.chats import leased_chat
from support.virtual_clock import on_virtual_time

from chatd.domain.errors import DatabaseBusy, DatabaseUnavailable
from chatd.store.histories import ChatHistory
from chatd.worker.clock import boottime
from chatd.worker.lease import Lease
from chatd.worker.worker_lease import WorkerLease
from chatd.worker.writer import Writer


class FailingTurns:
    """Store whose reads raise these errors, one after the other, and then succeed."""

    def __init__(self, *errors: Exception) -> None:
        self.reads = 0
        self._errors = list(errors)

    async def history(self, _: object) -> ChatHistory:
        self.reads += 1
        if self._errors:
            raise self._errors.pop(0)
        return ChatHistory()


def writer(turns: FailingTurns) -> Writer:
    worker_lease = WorkerLease(local_lease_seconds=15.0)
    worker_lease.renewed(boottime())
    lease = Lease(leased_chat(), worker_lease=worker_lease)
    unused: Any = None
    return Writer(cast("Any", turns), unused, lease)


def busy() -> DatabaseBusy:
    return DatabaseBusy("too slow", ran_out_of_time=True)


@on_virtual_time
async def test_outage_is_waited_out_for_as_long_as_the_lease_lasts() -> None:
    turns = FailingTurns(*[DatabaseUnavailable() for _ in range(10)])
    await writer(turns).history()
    assert turns.reads == 11
    assert anyio.current_time() < 10, "the backoff has a bound"


@on_virtual_time
async def test_statement_that_is_always_too_slow_is_given_up() -> None:
    turns = FailingTurns(DatabaseUnavailable(), *[busy() for _ in range(9)])
    with pytest.raises(DatabaseBusy):
        await writer(turns).history()
    assert turns.reads == 4


@on_virtual_time
async def test_statement_that_was_too_slow_twice_is_tried_again() -> None:
    turns = FailingTurns(busy(), busy())
    await writer(turns).history()
    assert turns.reads == 3
