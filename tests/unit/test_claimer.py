"""Claimer: how much a claim asks for, of whom, and when the next one follows."""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest
from support.chats import leased_chat
from support.virtual_clock import on_virtual_time

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.hint import RESYNC, Hint
from chatd.store.claims import WHOLE_LINE, Claim, ClaimBatch
from chatd.store.records import TransitionResult
from chatd.supervision.child import ChildHandle
from chatd.telemetry.metrics import NotificationMetrics
from chatd.worker.claimer import Claimer
from chatd.worker.lease import Lease
from chatd.worker.worker_lease import WorkerLease

MODELS = (UUID(int=2),)


def claim(*, pending_seconds: float = 0.0, recoveries: int = 0) -> Claim:
    return Claim(
        TransitionResult(chat=leased_chat(recoveries=recoveries), entry=None), None, pending_seconds
    )


def batch(*claims: Claim, left: bool = False, **seen: Any) -> ClaimBatch:
    """Return what a claim has seen: the chats that it took, and by default nothing else."""
    fields: dict[str, Any] = {
        "claims": claims,
        "candidates_left": left,
        "claimed_round": 0,
        "oldest_pending": WHOLE_LINE.pending_since,
        "next_due_in_seconds": None,
    }
    return ClaimBatch(**fields | seen)


class Line:
    """The line of pending chats: gives these batches, then empty ones. ``requests`` are what was asked."""

    def __init__(self, *batches: ClaimBatch) -> None:
        self.requests: list[dict[str, Any]] = []
        self.at: list[float] = []
        self._batches = deque(batches)

    async def claim(self, limit: int, **request: Any) -> ClaimBatch:
        self.requests.append({"limit": limit, **request})
        self.at.append(anyio.current_time())
        return self._batches.popleft() if self._batches else batch()


class Pool:
    """Task pool that records what was started in it."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.leases: list[Lease] = []

    @property
    def free_slots(self) -> int:
        return self.slots - len(self.leases)

    @contextmanager
    def claiming(self) -> Iterator[None]:
        yield

    def start(self, claim: Claim) -> None:
        worker_lease = WorkerLease(local_lease_seconds=1)
        self.leases.append(Lease(claim.result.chat, worker_lease=worker_lease))


class Worker:
    """A claimer with its line and its pool, which may be kept from claiming."""

    def __init__(self, *batches: ClaimBatch, slots: int = 100, max_recoveries: int = 3) -> None:
        self.line, self.pool = Line(*batches), Pool(slots)
        self.may_claim = True
        self.hint_metrics = NotificationMetrics()
        self.claimer = Claimer(
            cast("Any", self.line),
            cast("Any", self.pool),
            may_claim=lambda: self.may_claim,
            models=lambda: MODELS,
            poll_seconds=600,
            max_recoveries=max_recoveries,
            hint_metrics=self.hint_metrics,
        )

    def asked(self, name: str) -> list[Any]:
        return [request[name] for request in self.line.requests]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            child = ChildHandle("claimer")
            group.start_soon(self.claimer.run, child)
            await anyio.lowlevel.checkpoint()
            yield
            child.stopping.set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have the claimer read its time from a list of one number."""
    now = [1_000.0]
    monkeypatch.setattr("chatd.worker.claimer.boottime", lambda: now[0])
    return now


# -- what a claim asks for ------------------------------------------------------------------------


@pytest.mark.parametrize(("slots", "limit"), [(1, 1), (3, 1), (4, 2), (11, 5), (1000, 50)])
async def test_claim_takes_half_of_the_free_slots_at_least_one_and_at_most_50(
    slots: int, limit: int
) -> None:
    worker = Worker(slots=slots)
    await worker.claimer.step()
    assert worker.asked("limit") == [limit]
    assert worker.asked("models") == [MODELS]


@pytest.mark.parametrize("slots", [0, -1])
async def test_full_worker_claims_nothing(slots: int) -> None:
    worker = Worker(slots=slots)
    assert not await worker.claimer.step()
    assert worker.line.requests == []


async def test_every_claimed_chat_is_started() -> None:
    claims = [claim(), claim()]
    worker = Worker(batch(*claims))
    assert not await worker.claimer.step()
    assert [lease.chat for lease in worker.pool.leases] == [one.result.chat for one in claims]


async def test_every_eighth_claim_of_a_line_that_is_not_drained_takes_the_oldest() -> None:
    worker = Worker(*[batch(left=True)] * 16)
    for _ in range(18):
        await worker.claimer.step()
    assert [n for n, oldest in enumerate(worker.asked("oldest_first"), 1) if oldest] == [8, 16]


async def test_drained_line_starts_the_count_to_the_oldest_anew() -> None:
    worker = Worker(*[batch(left=True)] * 6, batch(), *[batch(left=True)] * 8)
    for _ in range(15):
        await worker.claimer.step()
    assert [n for n, oldest in enumerate(worker.asked("oldest_first"), 1) if oldest] == [15]


async def test_round_advances_once_a_second_if_no_chat_is_left(clock: list[float]) -> None:
    worker = Worker()
    for passed in (0, 0.9, 0.2, 0.5, 0.6):
        clock[0] += passed
        await worker.claimer.step()
    assert worker.asked("advance") == [True, False, True, False, True]


async def test_claims_begin_at_the_low_water_mark(clock: list[float]) -> None:
    worker = Worker(batch(claimed_round=7))
    for _ in range(2):
        await worker.claimer.step()
        clock[0] += 2
    assert [bounds.round for bounds in worker.asked("bounds")] == [0, 7]


@pytest.mark.parametrize(
    ("max_recoveries", "recoveries", "suspects"),
    [(3, 1, 1), (3, 2, 0), (3, 3, 0), (2, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1), (0, 1, 0)],
)
async def test_worker_of_a_suspect_claims_no_other_one(
    max_recoveries: int, recoveries: int, suspects: int
) -> None:
    worker = Worker(batch(claim(recoveries=recoveries)), max_recoveries=max_recoveries)
    await worker.claimer.step()
    await worker.claimer.step()
    assert worker.asked("suspects") == [1, suspects]
    assert worker.asked("suspect_recoveries") == [min(2, max(max_recoveries, 1))] * 2


# -- when the next one follows --------------------------------------------------------------------


@pytest.mark.parametrize(("slots", "again"), [(2, True), (1, False)])
async def test_claim_follows_at_once_if_chats_and_slots_are_left(slots: int, again: bool) -> None:
    assert await Worker(batch(claim(), left=True), slots=slots).claimer.step() is again


@on_virtual_time
async def test_claim_pauses_while_others_claim_what_it_has_read() -> None:
    worker = Worker(batch(left=True), batch(left=True), batch(claim()))
    async with worker.running():
        await anyio.sleep(1)
    assert worker.line.at == [0, 0.05, 0.1]


@on_virtual_time
async def test_claim_follows_when_a_deferred_chat_is_due() -> None:
    worker = Worker(batch(next_due_in_seconds=3.0), batch(claim(), next_due_in_seconds=40.0))
    async with worker.running():
        await anyio.sleep(50)
    assert worker.line.at == [0, 3, 43]


@on_virtual_time
async def test_hint_of_a_pending_chat_wakes_the_claimer() -> None:
    worker = Worker()
    async with worker.running():
        await anyio.sleep(1)
        for status in {*Status, None} - {Status.PENDING}:
            worker.claimer.handle_hint(Hint(UUID(int=1), 2, status))
        await anyio.sleep(1)
        worker.claimer.handle_hint(Hint(UUID(int=1), 2, Status.PENDING))
        await anyio.sleep(1)
        worker.claimer.handle_hint(RESYNC)
        await anyio.sleep(1)
    assert worker.line.at == [0, 2, 3]


# -- missed hints ---------------------------------------------------------------------------------


async def missed_hints(worker: Worker) -> float:
    """Claim once, and return how many missed hints that has found."""
    before = worker.hint_metrics.missed.values["pending",]
    await worker.claimer.step()
    return worker.hint_metrics.missed.values["pending",] - before


async def test_hint_was_missed_if_only_a_poll_finds_a_chat_that_waited() -> None:
    waited, fresh = claim(pending_seconds=0.3), claim(pending_seconds=0.2)
    worker = Worker(batch(waited), batch(waited, fresh), batch(waited))
    assert await missed_hints(worker) == 0, "the first claim of a process finds what there was"
    assert await missed_hints(worker) == 1
    worker.claimer.wake()
    assert await missed_hints(worker) == 0, "it had a reason to claim"


async def test_no_hint_was_missed_while_the_worker_might_not_claim() -> None:
    waited = batch(claim(pending_seconds=9))
    worker = Worker(batch(), waited, waited, slots=2)
    await worker.claimer.step()
    worker.may_claim = False
    assert await missed_hints(worker) == 0
    worker.may_claim = True
    assert await missed_hints(worker) == 0
    worker.pool.slots = 1
    assert await missed_hints(worker) == 0
    worker.pool.slots = 2
    assert await missed_hints(worker) == 0
    assert len(worker.line.requests) == 3


async def test_no_hint_was_missed_if_the_last_claim_left_chats() -> None:
    worker = Worker(batch(left=True), batch(claim(pending_seconds=9)))
    await worker.claimer.step()
    assert await missed_hints(worker) == 0


# -- failures -------------------------------------------------------------------------------------


async def test_claim_that_failed_counts_as_prompted_the_next_time() -> None:
    """It is unknown whether chats wait, so none was missed, and no message passes them by."""
    worker = Worker(batch(), batch(claim(pending_seconds=9)))
    await worker.claimer.step()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.line, "claim", unavailable)
        with pytest.raises(DatabaseUnavailable):
            await worker.claimer.step()
    assert await missed_hints(worker) == 0


async def unavailable(*_: object, **__: object) -> ClaimBatch:
    raise DatabaseUnavailable
