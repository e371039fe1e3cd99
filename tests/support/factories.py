"""Factories of stored chats in any status, inserted without transitions."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from chatd.domain.chat import LEASED, Chat, Status
from chatd.store import records
from chatd.store.database import Database
from chatd.store.leases import Leases, WorkerRegistration

OWNER = "ann"
WORKER = UUID("00000000-0000-4000-8000-000000000001")
MODEL = UUID("00000000-0000-4000-8000-0000000000aa")
REGISTRATION = WorkerRegistration(host="here", pid=1, version="0", max_chats=10, models=())
OTHER_MODEL = UUID("00000000-0000-4000-8000-0000000000bb")


FIRST_ROUND = 2
"""Round of the first chat of an owner in a new database."""


def text_content(value: str) -> tuple[dict[str, str], ...]:
    """Return content with one text part."""
    return ({"type": "text", "text": value},)


async def insert_models(database: Database) -> None:
    """Insert the models that the chats refer to."""
    await database.fetch(
        "INSERT INTO chat_model_configs (id, name, provider, model)"
        " VALUES ($1, 'one', 'p', 'm'), ($2, 'two', 'p', 'm') ON CONFLICT DO NOTHING",
        MODEL,
        OTHER_MODEL,
    )


def columns_for(status: Status) -> dict[str, Any]:
    """Return the columns that make a legal row of this status."""
    columns: dict[str, Any] = {"status": status.value}
    if status in LEASED:
        columns |= {"worker_id": WORKER, "epoch": 1, "started_at": "now", "heartbeat_at": "now"}
    if status is Status.ERROR:
        columns |= {"last_error": "it broke", "last_error_detail": {"kind": "provider_error"}}
    if status is Status.PENDING:
        columns |= {"pending_since": "now", "round": FIRST_ROUND}
    if status in {Status.REQUIRES_ACTION, Status.PARKED}:
        columns["action_deadline"] = "now"
    return columns


async def insert_worker(database: Database, worker_id: UUID) -> None:
    """Insert the row of a worker that proved its lock, unless it is there."""
    await database.fetch(
        "INSERT INTO workers (worker_id, host, pid, version, max_chats, lock_proved)"
        " VALUES ($1, 'here', 1, '0', 10, true) ON CONFLICT DO NOTHING",
        worker_id,
    )


async def insert_chat(database: Database, **columns: Any) -> Chat:
    """Insert one chat with these columns, and its worker. The value ``now`` stands for the present time."""
    if columns.get("worker_id"):
        await insert_worker(database, columns["worker_id"])
    chat_id = uuid4()
    columns = {
        "id": chat_id,
        "root_chat_id": chat_id,
        "owner_id": OWNER,
        "last_model_config_id": MODEL,
        **columns,
    }
    times = {name for name, value in columns.items() if value == "now"}
    values = {name: value for name, value in columns.items() if name not in times}
    names = [*values, *times]
    places = [f"${n}" for n in range(1, len(values) + 1)] + ["clock_timestamp()"] * len(times)
    row = await database.fetchrow(
        f"INSERT INTO chats ({', '.join(names)}) VALUES ({', '.join(places)}) RETURNING *",
        *values.values(),
    )
    assert row is not None
    return records.chat(row)


def tool_call_content(*ids: str, tool: str = "weather") -> tuple[dict[str, str], ...]:
    """Return content that calls a tool once for each id."""
    return tuple(
        {"type": "tool-call", "tool_call_id": call_id, "tool_name": tool, "args": "{}"}
        for call_id in ids
    )


PENDING_CALL_IDS = ("c2", "c1", "c3")
"""Ids of the calls that a chat of ``chat_with_status`` waits for, in their order."""


async def insert_tool_calls(
    database: Database,
    chat_id: UUID,
    *ids: str,
    state: str = "asked",
    policy: str = "at_most_once",
    kind: str = "result",
    waits_for: Sequence[UUID] = (),
    seconds: float = -1,
) -> int:
    """Insert a message with open tool calls. Return its id. The ledger is filled from its end.

    Calls that are asked have a question of this kind. Those whose result is asked are of the client, and
    others of the server. Parked ones wait for ``waits_for``, so long.
    """
    message_id: int = (
        await database.fetch(
            "INSERT INTO chat_messages (chat_id, id, version, role, content)"
            " SELECT $1, COALESCE(max(id) + 1, chat_message_id(1, 1)), 1, 'assistant', $2"
            " FROM chat_messages WHERE chat_id = $1 RETURNING id",
            chat_id,
            tool_call_content(*ids),
        )
    )[0]["id"]
    for position, call_id in reversed(list(enumerate(ids, 1))):
        await database.fetch(
            "INSERT INTO chat_tool_calls"
            " (chat_id, message_id, tool_call_id, tool_name, position, executor, policy, state,"
            "  tries, epoch, question, waits_for, wait_for_all, wake_at)"
            " SELECT $1, $2, $3, 'weather', $4, $5, $6, $7, $8, 0, $9,"
            "  CASE WHEN waits THEN $10::uuid[] END, CASE WHEN waits THEN true END,"
            "  CASE WHEN waits THEN now() + make_interval(secs => $11) END"
            " FROM (SELECT $7 = 'parked' AS waits)",
            chat_id,
            message_id,
            call_id,
            position,
            "client" if state == "asked" and kind == "result" else "server",
            policy,
            state,
            int(state == "started"),
            {"kind": kind} if state == "asked" else None,
            list(waits_for),
            seconds,
        )
    return message_id


async def chat_with_status(
    database: Database, status: Status, *, queued: int = 0, **more: Any
) -> Chat:
    """Insert a chat of this status, with a user message in its history and ``queued`` in its queue.

    One in ``requires_action`` waits for ``PENDING_CALL_IDS``, and its deadline is over. So does one that is
    parked, by calls that wait for no chat.
    """
    await insert_models(database)
    chat = await insert_chat(database, **(columns_for(status) | {"queue_length": queued} | more))
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, id, version, role, content)"
        " VALUES ($1, chat_message_id(1, 1), 1, 'user', $2)",
        chat.id,
        text_content("hello"),
    )
    if status is Status.REQUIRES_ACTION:
        await insert_tool_calls(database, chat.id, *PENDING_CALL_IDS)
    if status is Status.PARKED:
        await insert_tool_calls(database, chat.id, *PENDING_CALL_IDS, state="parked")
    for number in range(queued):
        await database.fetch(
            "INSERT INTO chat_queued_messages (chat_id, id, position, content, model_config_id)"
            " VALUES ($1, 1000 + $2, $2, $3, $4)",
            chat.id,
            number + 1,
            text_content(f"queued {number}"),
            OTHER_MODEL,
        )
    return chat


async def stored_rows(database: Database, chat: Chat) -> list[Any]:
    """Return everything stored of a chat, which a refused transition must not change."""
    tables = ("chat_messages", "chat_queued_messages", "chat_events", "chat_tool_calls")
    rows: list[Any] = [
        tuple(row) for row in await database.fetch("SELECT * FROM chats WHERE id = $1", chat.id)
    ]
    for table in tables:
        table_rows = await database.fetch(
            f"SELECT t.*::text FROM {table} t WHERE chat_id = $1 ORDER BY 1", chat.id
        )
        rows.append([tuple(row) for row in table_rows])
    return rows


async def register_worker(database: Database, leases: Leases) -> None:
    """Insert the row of a worker, as its heartbeat does."""
    async with database.dedicated_connection() as connection:
        await leases.register(connection, REGISTRATION)
