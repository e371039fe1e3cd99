"""Group commit: which items share a statement, and what becomes of them when it fails or is slow."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest
from support.databases import database_on_server
from support.eventually import eventually
from support.postgres_proxy import PostgresProxy, postgres_proxy

from chatd.domain.errors import DatabaseBusy, DatabaseUnavailable
from chatd.store.database import Database
from chatd.store.group_commit import _ENOUGH_ITEMS, MAX_ITEMS, GroupCommit

NOTED = "CREATE TABLE noted (n bigserial, chat_id uuid, value bigint)"
TIME_OUT = """
CREATE FUNCTION time_out() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'out of time' USING ERRCODE = 'query_canceled';
END $$
"""
NOTE = """
INSERT INTO noted (chat_id, value)
SELECT chat_id, CASE value WHEN 'for ever' THEN time_out() ELSE value::bigint END
FROM unnest($1::uuid[], $2::text[]) AS note (chat_id, value) WHERE value <> '0'
RETURNING chat_id, value
"""


@dataclass(frozen=True)
class Note:
    """A value that is noted. A word cannot be, and 0 is left out."""

    chat_id: UUID
    value: str = "1"


class Notes:
    """A table of notes, and the statements that were sent, each of which may be held."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sent: list[list[Note]] = []
        self.held: list[asyncio.Event] = []
        """One for each of the first statements, which wait for it before they are sent."""
        self.group = GroupCommit(database, self._note)

    async def _note(self, notes: Sequence[Note]) -> Sequence[asyncpg.Record]:
        self.sent.append(list(notes))
        if len(self.sent) <= len(self.held):
            await self.held[len(self.sent) - 1].wait()
        return await self.database.fetch(
            NOTE, [note.chat_id for note in notes], [note.value for note in notes]
        )

    def run(self, *notes: Note) -> list[asyncio.Task[asyncpg.Record | None]]:
        return [asyncio.create_task(self.group.run(note)) for note in notes]

    async def stored(self) -> list[tuple[int, int]]:
        rows = await self.database.fetch("SELECT chat_id, value FROM noted ORDER BY n")
        return [(row["chat_id"].int, row["value"]) for row in rows]


async def create_notes(database: Database) -> None:
    for statement in (NOTED, TIME_OUT):
        await database.fetch(statement)


@pytest.fixture
async def notes(empty_dsn: str) -> AsyncIterator[Notes]:
    database = Database(empty_dsn, pool_size=4)
    await database.open()
    await create_notes(database)
    yield Notes(database)
    await database.close()


def note(number: int, value: str = "1") -> Note:
    return Note(UUID(int=number), value)


async def results(tasks: Sequence[asyncio.Task[asyncpg.Record | None]]) -> list[object]:
    return [
        result["value"] if isinstance(result, asyncpg.Record) else result
        for result in await asyncio.gather(*tasks, return_exceptions=True)
    ]


async def test_first_item_waits_for_no_timer(notes: Notes) -> None:
    [task] = notes.run(note(1))
    for _ in range(4):  # of the task, of its statement, two without another item
        assert not notes.sent
        await asyncio.sleep(0)
    assert notes.sent == [[note(1)]]
    assert await results([task]) == [1]


async def test_items_of_successive_ticks_go_together(notes: Notes) -> None:
    tasks = []
    for number in range(_ENOUGH_ITEMS + 3):
        tasks += notes.run(note(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # every other tick is without an item
    assert await results(tasks) == [1] * (_ENOUGH_ITEMS + 3)
    assert [len(each) for each in notes.sent] == [_ENOUGH_ITEMS, 3], "it waits for no more"


async def test_what_comes_meanwhile_goes_together(notes: Notes) -> None:
    notes.held = [asyncio.Event()]
    first = notes.run(note(0))
    await eventually(lambda: notes.sent)
    rest = notes.run(*(note(n, str(n % 9)) for n in range(1, 1 + MAX_ITEMS + 3)))
    await asyncio.sleep(0)
    assert len(notes.sent) == 1, "one statement at a time"
    notes.held[0].set()
    values = await results(first + rest)
    assert [len(each) for each in notes.sent] == [1, MAX_ITEMS, 3]
    assert values == [1, *(n % 9 or None for n in range(1, 1 + MAX_ITEMS + 3))], "each its own row"


async def test_items_that_wait_at_the_end_of_the_process_are_refused(notes: Notes) -> None:
    others = asyncio.all_tasks()
    tasks = notes.run(note(1), note(2))
    await asyncio.sleep(0)
    for sender in asyncio.all_tasks() - others - set(tasks):
        sender.cancel()
    assert [type(each) for each in await results(tasks)] == [DatabaseUnavailable] * 2
    assert not notes.sent


async def test_items_of_one_chat_go_one_after_the_other(notes: Notes) -> None:
    sent = [note(1, "1"), note(2, "2"), note(1, "3"), note(1, "4"), note(2, "5")]
    assert await results(notes.run(*sent)) == [1, 2, 3, 4, 5]
    assert notes.sent == [sent[:2], [sent[2], sent[4]], [sent[3]]]


async def test_item_that_data_makes_fail_fails_alone(notes: Notes) -> None:
    values = await results(notes.run(note(1), note(2, "poison"), note(3), note(4, "0")))
    assert isinstance(values[1], asyncpg.DataError)
    assert [values[0], *values[2:]] == [1, 1, None]
    assert sorted(await notes.stored()) == [(1, 1), (3, 1)]
    assert [len(each) for each in notes.sent] == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("sent", [False, True], ids=["waiting", "sent"])
async def test_cancelled_caller_cancels_no_statement(notes: Notes, sent: bool) -> None:
    notes.held = [asyncio.Event()]
    before = [] if sent else notes.run(note(9))
    if before:
        await eventually(lambda: notes.sent)
    tasks = notes.run(note(1), note(2))
    if sent:
        await eventually(lambda: notes.sent)
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert tasks[0].cancelled()
    notes.held[0].set()
    assert await results([*before, tasks[1]]) == [1] * (len(before) + 1)
    assert ((1, 1) in await notes.stored()) == sent, "withdrawn, unless it was sent"


async def test_slow_statement_holds_up_no_other(notes: Notes) -> None:
    """Its connection may be dead. Others go on after a quarter of a second, and none is sent twice."""
    notes.held = [asyncio.Event()]
    slow = notes.run(note(1))
    await eventually(lambda: notes.sent)
    assert await results(notes.run(note(2), note(3))) == [1, 1]
    assert await results(notes.run(note(4))) == [1]
    assert not slow[0].done()
    notes.held[0].set()
    assert await results(slow) == [1]
    assert await results(notes.run(note(5))) == [1]
    assert [len(each) for each in notes.sent] == [1, 2, 1, 1]


async def test_item_that_runs_out_of_time_does_so_alone(notes: Notes) -> None:
    values = await results(notes.run(note(1), note(2, "for ever"), note(3)))
    assert isinstance(values[1], DatabaseBusy)
    assert [values[0], values[2]] == [1, 1]


async def lose(proxy: PostgresProxy, _: Notes) -> None:
    proxy.cut()


async def close(_: PostgresProxy, notes: Notes) -> None:
    await notes.database.close(timeout_seconds=0.1)


@pytest.mark.parametrize("end", [lose, close])
async def test_all_items_learn_that_the_database_is_away(
    tcp_server: str, end: Callable[[PostgresProxy, Notes], object]
) -> None:
    """The statement was sent. Whether it was committed is unknown, and those that wait are told too."""
    async with database_on_server(tcp_server) as dsn, postgres_proxy(dsn) as proxy:
        database = Database(proxy.dsn, pool_size=4)
        await database.open()
        await create_notes(database)
        notes = Notes(database)
        stalled = asyncio.Event()
        proxy.on_sent = lambda _connection, _data: (proxy.stall(), stalled.set())
        tasks = notes.run(note(1), note(2))
        await stalled.wait()
        waiting = notes.run(note(3))
        await asyncio.sleep(0)
        await end(proxy, notes)  # type: ignore[misc]
        values = await results(tasks)
        assert {type(value) for value in values} == {DatabaseUnavailable}
        if end is close:
            assert {type(value) for value in await results(waiting)} == {DatabaseUnavailable}
            assert database._tasks == set()
        else:
            proxy.on_sent = lambda _connection, _data: None
            proxy.resume()
            await results(waiting)
            assert await results(notes.run(note(4))) == [1]
            await database.close()
