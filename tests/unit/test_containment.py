"""Containment: batches that fail for the data of single chats, and those that fail for another reason."""

from collections.abc import Sequence
from itertools import chain
from uuid import UUID

import anyio
import asyncpg
import pytest
from structlog.testing import capture_logs
from support.virtual_clock import on_virtual_time

from chatd.domain.errors import DatabaseBusy, DatabaseUnavailable, LeaseLost
from chatd.store.containment import FIRST_CUT_SECONDS, Containment
from chatd.supervision.child import FatalError
from chatd.telemetry.metrics import ContainmentMetrics

CHATS = [UUID(int=number) for number in range(16)]
SLOW = DatabaseBusy(ran_out_of_time=True)


class Statement:
    """A statement that fails as long as one of the ``poison`` is in its batch."""

    def __init__(self, *poison: UUID, error: Exception | None = None) -> None:
        self._poison = set(poison)
        self._error = error or ValueError("the words of a user")
        self.calls = 0

    async def __call__(self, batch: Sequence[UUID]) -> Sequence[UUID]:
        self.calls += 1
        if self._poison & set(batch):
            raise self._error
        return batch


def containment() -> Containment[UUID]:
    return Containment("reaper", ContainmentMetrics())


async def run(
    contained: Containment[UUID], statement: Statement, chats: list[UUID] = CHATS
) -> list[UUID]:
    results = await contained.run(chats, statement, key=lambda chat_id: chat_id)
    return sorted(chain.from_iterable(results))


async def test_batch_without_a_culprit_is_one_statement() -> None:
    statement = Statement()
    assert await run(containment(), statement) == CHATS
    assert statement.calls == 1
    assert await run(containment(), statement, []) == []
    assert statement.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"), KeyError("x"), TypeError("x"), OverflowError("x"), MemoryError(), RecursionError(),
        asyncpg.ProgramLimitExceededError("x"), asyncpg.NumericValueOutOfRangeError("x"),
        asyncpg.CheckViolationError("x"), asyncpg.RaiseError("x"), asyncpg.DataCorruptedError("x"),
        asyncpg.DataError("invalid input for query argument"), SLOW,
    ],
)  # fmt: skip
async def test_culprit_is_cut_and_all_others_are_served(error: Exception) -> None:
    contained = containment()
    told: list[UUID] = []
    contained.on_cut = told.append
    statement = Statement(CHATS[5], error=error)
    with capture_logs() as logs:
        assert await run(contained, statement) == [each for each in CHATS if each != CHATS[5]]
    assert statement.calls <= 1 + 2 * 4, "halved, and not tried one by one"
    assert contained.cut_keys == told == [CHATS[5]]
    [line] = [line for line in logs if line["event"] == "containment.cut"]
    assert (line["actor"], line["chat_id"], line["log_level"]) == ("reaper", CHATS[5], "error")


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable(), DatabaseBusy(ran_out_of_time=False), FatalError("x"), LeaseLost(),
        asyncpg.UndefinedColumnError("x"), asyncpg.InterfaceError("another operation is in progress"),
        OSError(), RuntimeError("x"),
    ],
)  # fmt: skip
async def test_what_is_no_fault_of_a_chat_is_raised(error: Exception) -> None:
    contained, statement = containment(), Statement(CHATS[5], error=error)
    with pytest.raises(type(error)):
        await run(contained, statement)
    assert statement.calls == 1
    assert contained.cut_keys == []


@on_virtual_time
async def test_many_culprits_are_found() -> None:
    contained = containment()
    assert await run(contained, Statement(*CHATS[::2])) == CHATS[1::2]
    assert sorted(contained.cut_keys) == CHATS[::2]
    assert await run(contained, Statement(*CHATS)) == []


@pytest.mark.parametrize("chats", [CHATS[:1], CHATS[:3], CHATS])
async def test_slow_server_cuts_nobody(chats: list[UUID]) -> None:
    contained, statement = containment(), Statement(*CHATS, error=SLOW)
    with pytest.raises(DatabaseBusy):
        await run(contained, statement, chats)
    assert contained.cut_keys == []
    assert statement.calls <= 17, "a slow server is not asked for ever"


@on_virtual_time
async def test_cut_lasts_twice_as_long_each_time_and_is_forgiven() -> None:
    contained, chat = containment(), CHATS[0]
    contained.cut(chat, ValueError())
    assert contained.is_cut(chat)
    assert not contained.fails_again(chat)
    await anyio.sleep(FIRST_CUT_SECONDS)
    assert not contained.is_cut(chat)
    contained.cut(chat, ValueError())
    assert contained.fails_again(chat)
    await anyio.sleep(2 * FIRST_CUT_SECONDS - 1)
    assert contained.fails_again(chat)
    await anyio.sleep(1 + 2 * FIRST_CUT_SECONDS)
    contained.cut(chat, ValueError())
    assert not contained.fails_again(chat)


async def test_guard_passes_what_is_no_fault_of_a_chat() -> None:
    contained = containment()
    with contained.guard(CHATS[0]):
        raise ValueError
    assert contained.cut_keys == [CHATS[0]]
    with pytest.raises(DatabaseUnavailable), contained.guard(CHATS[1]):
        raise DatabaseUnavailable


async def test_remembered_cuts_are_bounded() -> None:
    contained = containment()
    for number in range(1100):
        contained.cut(UUID(int=number), ValueError())
    assert len(contained.cut_keys) == 1000
    assert UUID(int=1099) in contained.cut_keys
