"""Constraints of chats: the database refuses every illegal combination, by INSERT and by UPDATE.

``legal`` is written from the table of states in the design, not from the CHECK constraints.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from support.factories import MODEL, OWNER, chat_with_status, insert_chat, insert_models

from chatd.domain.chat import IDLE, LEASED, Status
from chatd.store.database import Database


@dataclass(frozen=True)
class Columns:
    """One combination of columns. A flag is True if the nullable column is set."""

    status: str
    worker_id: bool
    started_at: bool
    heartbeat_at: bool
    epoch: int
    last_error: str | None
    last_error_detail: str | None
    pending_since: bool
    action_deadline: bool
    archived: bool
    queue_length: int
    attempts: int
    next_attempt_at: bool
    recoveries: int
    held: bool
    turn_deadline_at: bool


def legal(row: Columns) -> bool:
    """Return whether a row is legal: which columns are set in which status, and in no other."""
    if row.status not in set(Status):
        return False
    status = Status(row.status)
    owner = {row.worker_id, row.started_at, row.heartbeat_at}
    working = status in LEASED | {Status.PENDING}
    return all(
        (
            owner == {status in LEASED},
            row.epoch >= (status in LEASED),  # a claim raises the epoch, so a leased chat has one
            bool(row.last_error) == (status is Status.ERROR) and row.last_error != "",
            row.last_error_detail is None or status is Status.ERROR,
            row.pending_since == (status is Status.PENDING),
            row.action_deadline == (status in {Status.REQUIRES_ACTION, Status.PARKED}),
            not row.archived or status in IDLE,
            row.queue_length == 0 or (row.queue_length > 0 and status is not Status.WAITING),
            row.attempts == 0 or (row.attempts > 0 and working),
            not row.next_attempt_at or working,
            row.recoveries == 0 or (row.recoveries > 0 and working),
            not row.held or status is Status.PENDING,
            not row.turn_deadline_at or working,
        )
    )


_NAMES = [field.name for field in fields(Columns)]
_NONE_OF_THEM = {
    "archived": False,
    "queue_length": 0,
    "attempts": 0,
    "next_attempt_at": False,
    "recoveries": 0,
    "held": False,
    "turn_deadline_at": False,
}
"""Columns that depend on the status only, so they are tested one at a time."""


def combinations() -> Iterator[Columns]:
    """Yield every status with every combination of the columns that depend on it."""
    flag = (False, True)
    axes: dict[str, tuple[Any, ...]] = {
        "status": (*(status.value for status in Status), "asleep"),
        "worker_id": flag,
        "started_at": flag,
        "heartbeat_at": flag,
        "epoch": (0, 1),
        "last_error": (None, "", "it broke"),
        "last_error_detail": (None, '{"kind": "server"}'),
        "pending_since": flag,
        "action_deadline": flag,
    }
    extras = [_NONE_OF_THEM, *(_NONE_OF_THEM | {name: 1} for name in _NONE_OF_THEM)]
    assert [*axes, *_NONE_OF_THEM] == _NAMES
    for *values, extra in product(*axes.values(), extras):
        yield Columns(*values, **{name: type(_NONE_OF_THEM[name])(extra[name]) for name in extra})


TRY = """
CREATE TEMPORARY TABLE combos (
    n integer PRIMARY KEY, status text, worker_id boolean, started_at boolean,
    heartbeat_at boolean, epoch bigint, last_error text, last_error_detail text,
    pending_since boolean, action_deadline boolean, archived boolean, queue_length integer,
    attempts integer, next_attempt_at boolean, recoveries integer, held boolean,
    turn_deadline_at boolean);

CREATE FUNCTION pg_temp.accepted(way text, OUT yes integer[]) LANGUAGE plpgsql AS $$
DECLARE
    combo record;
    chat uuid := gen_random_uuid();
    model uuid := '{model}';
BEGIN
    yes := '{{}}';
    IF way = 'update' THEN
        INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id)
        VALUES (chat, chat, '{owner}', model);
    END IF;
    FOR combo IN SELECT * FROM combos ORDER BY n LOOP
        BEGIN
            IF way = 'insert' THEN
                INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, {names})
                VALUES (chat, chat, '{owner}', model, {values});
            ELSE
                UPDATE chats SET ({names}) = ROW ({values}) WHERE id = chat;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'CH001';   -- accepted: take it back
        EXCEPTION
            WHEN check_violation THEN NULL;
            WHEN SQLSTATE 'CH001' THEN yes := array_append(yes, combo.n);
        END;
    END LOOP;
END $$;
"""


def _value(name: str) -> str:
    match name:
        case "worker_id":
            return "CASE WHEN combo.worker_id THEN gen_random_uuid() END"
        case (
            "started_at"
            | "heartbeat_at"
            | "pending_since"
            | "action_deadline"
            | "next_attempt_at"
            | "turn_deadline_at"
        ):
            return f"CASE WHEN combo.{name} THEN clock_timestamp() END"
        case "last_error_detail":
            return "combo.last_error_detail::jsonb"
        case _:
            return f"combo.{name}"


@pytest.mark.parametrize("way", ["insert", "update"])
async def test_database_stores_exactly_the_legal_rows(database: Database, way: str) -> None:
    await insert_models(database)
    every = list(combinations())
    async with database.dedicated_connection() as connection:
        await connection.execute(
            TRY.format(
                model=MODEL,
                owner=OWNER,
                names=", ".join(_NAMES),
                values=", ".join(map(_value, _NAMES)),
            )
        )
        await connection.copy_records_to_table(
            "combos", records=((n, *astuple(row)) for n, row in enumerate(every))
        )
        await connection.execute("SET statement_timeout = '120s'")
        stored = set(await connection.fetchval("SELECT pg_temp.accepted($1)", way, timeout=120))
    wrong = [
        (row, "stored" if n in stored else "refused")
        for n, row in enumerate(every)
        if legal(row) != (n in stored)
    ]
    assert wrong == []
    assert stored


OTHER_CHAT = UUID(int=0xDEAD)

ODD: list[tuple[Status, str, dict[str, Any]]] = [
    (Status.WAITING, "chats_epoch_check", {"epoch": -1}),
    (Status.RUNNING, "chats_epoch_check", {"epoch": -1}),
    (Status.WAITING, "chats_version_check", {"version": 0}),
    (Status.WAITING, "chats_committed_steps_check", {"committed_steps": -1}),
    (Status.WAITING, "chats_settled_part_check", {"settled_part": -1}),
    (Status.RUNNING, "chats_recoveries_check", {"recoveries": -1}),
    (Status.RUNNING, "chats_attempts_check", {"attempts": -1}),
    (Status.RUNNING, "chats_queue_length_check", {"queue_length": -1}),
    (Status.ERROR, "chats_error_detail_object", {"last_error_detail": ["server"]}),
    (Status.WAITING, "chats_labels_object", {"labels": ["a"]}),
    (Status.WAITING, "chats_owner_id_check", {"owner_id": ""}),
    (Status.WAITING, "chats_root_is_itself", {"root_chat_id": OTHER_CHAT}),
]


@pytest.mark.parametrize(("status", "constraint", "columns"), ODD)
async def test_invalid_column_values_are_refused(
    database: Database, status: Status, constraint: str, columns: dict[str, Any]
) -> None:
    chat = await chat_with_status(database, status)
    await insert_chat(database, id=OTHER_CHAT, root_chat_id=OTHER_CHAT)
    (name, value), *_ = columns.items()
    with pytest.raises(asyncpg.CheckViolationError) as update:
        await database.fetch(f"UPDATE chats SET {name} = $2 WHERE id = $1", chat.id, value)
    with pytest.raises(asyncpg.CheckViolationError) as inserted:
        await chat_with_status(database, status, **columns)
    # -1 violates the constraint of leased chats too, and PostgreSQL names the first that it checks
    expected = {constraint, "chats_lease_columns"} if name == "epoch" else {constraint}
    assert {update.value.constraint_name, inserted.value.constraint_name} <= expected


async def test_chat_cannot_be_its_own_parent(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    with pytest.raises(asyncpg.CheckViolationError, match="chats_not_its_parent"):
        await database.fetch("UPDATE chats SET parent_chat_id = id WHERE id = $1", chat.id)


async def test_batch_with_a_wrong_part_count_is_refused(database: Database) -> None:
    query = (
        "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts)"
        " VALUES ($1, 1, $2, $3, $4)"
    )
    for first, last, parts in [(1, 2, [{}]), (2, 1, []), (1, 1, [{}, {}])]:
        with pytest.raises(asyncpg.CheckViolationError):
            await database.fetch(query, OTHER_CHAT, first, last, parts)
    await database.fetch(query, OTHER_CHAT, 1, 2, [{}, {}])
