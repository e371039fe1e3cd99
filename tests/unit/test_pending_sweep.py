"""Pending sweep: when a model counts as unserved, and which owners it looks at next."""

from typing import Any, cast
from uuid import UUID

import pytest

from chatd.store.pending import Admitted
from chatd.worker.pending_sweep import PendingSweep

MODEL, OTHER_MODEL = UUID(int=1), UUID(int=2)
GRACE_SECONDS = 60.0


class Pending:
    """Store of pending chats with these unserved models. It records what is failed and admitted."""

    def __init__(self) -> None:
        self.unserved: set[UUID] = set()
        self.failed: list[list[UUID]] = []
        self.admitted: list[Admitted] = []
        self.after_owners: list[str] = []

    async def unserved_models(self, *, lease_seconds: float, grace_seconds: float) -> set[UUID]:
        assert (lease_seconds, grace_seconds) == (20.0, GRACE_SECONDS)
        return self.unserved

    async def fail_unserved(self, models: list[UUID], **_: float) -> list[Any]:
        self.failed.append(models)
        return []

    async def admit_held(self, *, after_owner: str) -> Admitted:
        self.after_owners.append(after_owner)
        return self.admitted.pop(0) if self.admitted else Admitted(count=0, last_owner=None)


def sweep(pending: Pending) -> PendingSweep:
    return PendingSweep(
        cast("Any", pending),
        reap_interval_seconds=1.0,
        lease_seconds=20.0,
        unserved_model_seconds=GRACE_SECONDS,
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have the sweep read its time from a list of one number."""
    now = [1_000.0]
    monkeypatch.setattr("chatd.worker.pending_sweep.boottime", lambda: now[0])
    return now


async def test_model_has_to_be_found_unserved_for_the_whole_grace(clock: list[float]) -> None:
    """Chats may have been pending for it for longer, while all workers restarted."""
    pending = Pending()
    actor = sweep(pending)
    pending.unserved = {MODEL}
    await actor.step()
    clock[0] += GRACE_SECONDS - 1
    pending.unserved = {MODEL, OTHER_MODEL}
    await actor.step()
    assert pending.failed == []
    clock[0] += 1
    await actor.step()
    assert pending.failed == [[MODEL]]


async def test_grace_begins_anew_once_a_worker_had_the_model(clock: list[float]) -> None:
    pending = Pending()
    actor = sweep(pending)
    for unserved, seconds in (({MODEL}, 59), (set[UUID](), 1), ({MODEL}, 59), ({MODEL}, 0)):
        pending.unserved = unserved
        await actor.step()
        clock[0] += seconds
    assert pending.failed == []


async def test_sweep_goes_on_after_the_last_owner_and_then_from_the_first() -> None:
    pending = Pending()
    pending.admitted = [
        Admitted(count=1, last_owner="bob"),
        Admitted(count=0, last_owner="cyd"),
        Admitted(count=1, last_owner=None),
    ]
    actor = sweep(pending)
    assert [await actor.step() for _ in range(4)] == [True, True, True, False]
    assert pending.after_owners == ["", "bob", "cyd", ""]
