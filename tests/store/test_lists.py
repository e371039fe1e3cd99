"""Reads of chat lists, and the tombstones of deleted chats."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from support.factories import OWNER, chat_with_status
from support.sweeps import DAY, delete_expired

from chatd.domain.chat import Status
from chatd.domain.chat_list import DELETED_VERSION, ChatChange, ListQuery
from chatd.store.chat_lists import ChatLists
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.sweeps import TOMBSTONES

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)
OVERLAP = timedelta(seconds=15)


async def insert_tombstone(database: Database, chat_id: UUID, *, owner_id: str = OWNER) -> datetime:
    row = await database.fetchrow(
        "INSERT INTO chat_tombstones (owner_id, chat_id) VALUES ($1, $2) RETURNING deleted_at",
        owner_id,
        chat_id,
    )
    assert row is not None
    deleted_at: datetime = row["deleted_at"]
    return deleted_at


async def test_changes_are_per_owner_and_oldest_first(database: Database) -> None:
    lists, chats = ChatLists(database), Chats(database)
    a, b = [await chat_with_status(database, Status.WAITING) for _ in range(2)]
    deleted = uuid4()
    deleted_at = await insert_tombstone(database, deleted)
    c = await chat_with_status(database, Status.WAITING)
    other = await chat_with_status(database, Status.WAITING, owner_id="bob")
    await insert_tombstone(database, uuid4(), owner_id="somebody")
    touched = (await chats.describe(a.id, owner_id=OWNER, title="touched")).chat
    found = await lists.changed_since(
        [ListQuery(name, LONG_AGO) for name in (OWNER, "bob", "nobody")]
    )
    assert found.keys() == {OWNER, "bob", "nobody"}
    assert list(found[OWNER].changes) == [
        ChatChange.from_chat(b),
        ChatChange.deleted(deleted, deleted_at),
        ChatChange.from_chat(c),
        ChatChange.from_chat(touched),
    ]
    assert list(found["bob"].changes) == [ChatChange.from_chat(other)]
    assert list(found["nobody"].changes) == []
    assert all(changes.is_complete for changes in found.values())


async def test_changes_leave_out_older_and_known_versions(database: Database) -> None:
    lists = ChatLists(database)
    a, b, c = [await chat_with_status(database, Status.WAITING, version=n) for n in (1, 5, 9)]
    deleted = uuid4()
    deleted_at = await insert_tombstone(database, deleted)

    async def ids(since: datetime, **known: int) -> list[UUID]:
        names = {"a": a.id, "b": b.id, "c": c.id, "deleted": deleted}
        query = ListQuery(OWNER, since, {names[key]: version for key, version in known.items()})
        return [change.chat_id for change in (await lists.changed_since([query]))[OWNER].changes]

    assert await ids(a.updated_at) == [b.id, c.id, deleted]
    assert await ids(deleted_at) == []
    assert await ids(NEVER) == []
    assert await ids(LONG_AGO, a=1, b=4, c=10, deleted=DELETED_VERSION) == [b.id]
    known_before_delete = await ids(LONG_AGO, deleted=10**9)
    assert known_before_delete == [a.id, b.id, c.id, deleted]


async def test_limited_read_of_changes_is_incomplete(database: Database) -> None:
    lists = ChatLists(database)
    chats = [await chat_with_status(database, Status.WAITING) for _ in range(3)]
    deleted = [uuid4() for _ in range(3)]
    for chat_id in deleted:
        await insert_tombstone(database, chat_id)
    known: dict[UUID, int] = {}
    changed_ids: list[UUID] = []
    is_complete = False
    while not is_complete:
        changes = (await lists.changed_since([ListQuery(OWNER, LONG_AGO, known)], limit=2))[OWNER]
        is_complete = changes.is_complete
        changed_ids += [change.chat_id for change in changes.changes]
        known |= {change.chat_id: change.version for change in changes.changes}
    assert changed_ids == [*(chat.id for chat in chats), *deleted]


async def test_late_commit_is_found_within_the_overlap(database: Database) -> None:
    """The next read includes a change with an earlier time that was committed after this read."""
    lists = ChatLists(database)
    chat = await chat_with_status(database, Status.WAITING)
    async with database.dedicated_connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        updated_at = await connection.fetchval(
            "UPDATE chats SET version = 2, updated_at = clock_timestamp() WHERE id = $1"
            " RETURNING updated_at",
            chat.id,
        )
        before = (await lists.changed_since([ListQuery(OWNER, LONG_AGO)]))[OWNER]
        assert [change.version for change in before.changes] == [1]
        assert before.read_at > updated_at
        await transaction.commit()
    known = {chat.id: 1}
    found = await lists.changed_since([ListQuery(OWNER, before.read_at - OVERLAP, known)])
    assert [change.version for change in found[OWNER].changes] == [2]
    missed = await lists.changed_since([ListQuery(OWNER, before.read_at, known)])
    assert list(missed[OWNER].changes) == []


async def test_read_time_precedes_the_snapshot(database: Database) -> None:
    """A change that a read does not see has a later time, or is not committed yet."""
    lists = ChatLists(database)
    before = (await lists.changed_since([ListQuery(OWNER, NEVER)]))[OWNER]
    chat = await chat_with_status(database, Status.WAITING)
    after = (await lists.changed_since([ListQuery(OWNER, before.read_at)]))[OWNER]
    assert [change.chat_id for change in after.changes] == [chat.id]
    assert before.read_at < chat.updated_at < after.read_at


async def test_tombstones_are_pruned_after_their_retention(database: Database) -> None:
    old, new = uuid4(), uuid4()
    await insert_tombstone(database, old)
    await database.fetch("UPDATE chat_tombstones SET deleted_at = deleted_at - interval '7.5 days'")
    await insert_tombstone(database, new)
    assert await delete_expired(database, TOMBSTONES, retention_seconds=8 * DAY) == 0
    assert await delete_expired(database, TOMBSTONES, retention_seconds=7 * DAY) == 1
    assert await delete_expired(database, TOMBSTONES, retention_seconds=7 * DAY) == 0
    remaining = await database.fetch("SELECT chat_id FROM chat_tombstones")
    assert [row["chat_id"] for row in remaining] == [new]
