"""Plans of the queries that run periodically, on tables of a few thousand rows."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from support.factories import MODEL, OWNER, WORKER, insert_models
from support.query_plans import BOTH, indexes, kinds, nodes, plan, plan_of, scanned

from chatd.domain.chat import Usage
from chatd.store import sql
from chatd.store.claim_on_send import NO_CLAIM
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.executor import NO_ACTOR, caller_arguments
from chatd.store.files import file_parameters
from chatd.store.idempotency import NO_KEY
from chatd.store.limits import ChatLimits
from chatd.store.turns import FencingToken

FILL = """
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, pending_since,
                   worker_id, started_at, heartbeat_at, epoch, updated_at)
SELECT id, id, CASE WHEN n % 10 = 0 THEN '{owner}' ELSE 'owner ' || n % 40 END, '{model}', status,
       CASE WHEN status = 'pending' THEN clock_timestamp() END,
       CASE WHEN status = 'running' THEN '{worker}'::uuid END,
       CASE WHEN status = 'running' THEN clock_timestamp() END,
       CASE WHEN status = 'running' THEN clock_timestamp() END,
       1, clock_timestamp() - random() * interval '9 days'
FROM (SELECT n, gen_random_uuid() AS id,
             CASE n % 100 WHEN 1 THEN 'pending' WHEN 2 THEN 'running' ELSE 'waiting' END AS status
      FROM generate_series(1, 6000) n) made;
INSERT INTO chat_messages (chat_id, id, version, role, content)
SELECT id, chat_message_id(1, n), 1, 'user', '[]' FROM chats, generate_series(1, 5) n;
INSERT INTO chat_events (chat_id, version, transition, status, epoch)
SELECT id, n, 'send', 'waiting', 1 FROM chats, generate_series(1, 5) n;
INSERT INTO chat_files (chat_id, id, media_type, size, data)
SELECT id, gen_random_uuid(), 'image/png', 1, '!' FROM chats;
ANALYZE;
"""


async def fill(dsn: str) -> None:
    database = Database(dsn, statement_timeout_seconds=60)
    await database.open()
    try:
        await insert_models(database)
        async with database.dedicated_connection() as connection:
            await connection.execute(FILL.format(owner=OWNER, model=MODEL, worker=WORKER))
    finally:
        await database.close()


@pytest.fixture(scope="module")
def filled_dsn(module_dsn: str) -> str:
    """Fill the database of the module, which takes longer than all of its tests."""
    asyncio.run(fill(module_dsn))
    return module_dsn


@pytest.fixture
async def filled(filled_dsn: str) -> AsyncIterator[Connection]:
    """Yield a connection on the filled database. What a test changes is rolled back."""
    async with Database(filled_dsn).dedicated_connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()


EVIDENCE = {
    "worker_ids": [WORKER, WORKER],
    "heartbeats": [None, None],
    "chat_ids": [None, UUID(int=1)],
    "epochs": [None, 1],
}


@BOTH
async def test_leased_chats_are_found_by_their_worker(filled: Connection, generic: bool) -> None:
    reap = {**EVIDENCE, "worker_id": UUID(int=9), "reasons": ["worker_dead", "abandoned"]}
    asks: dict[tuple[str, str], dict[str, Any]] = {
        ("leases", "leased_chats"): {"worker_id": WORKER},
        ("leases", "renew"): {"worker_id": WORKER},
        ("reaps", "reap"): {**reap, "max_recoveries": 3, "limit": 100, "excluded": [], "words": {}},
        ("reaps", "orphaned_interrupts"): {**EVIDENCE, "limit": 100, "excluded": []},
    }
    for (file, name), values in asks.items():
        result = await plan(filled, file, name, **values, generic=generic)
        assert "chats_leased_idx" in indexes(result), name
        assert "chats" not in scanned(result), name


@BOTH
async def test_overdue_chats_are_found_by_their_deadline(filled: Connection, generic: bool) -> None:
    """The query of each second and process reads only the chat with the earliest deadline."""
    await filled.execute(
        "UPDATE chats SET status = 'requires_action', action_deadline = clock_timestamp()"
        " + interval '1 hour' WHERE id IN (SELECT id FROM chats WHERE status = 'waiting' LIMIT 200)"
    )
    await filled.execute("ANALYZE chats")
    asks: dict[tuple[str, str], dict[str, Any]] = {
        ("reaps", "look"): {"worker_id": UUID(int=9), "lease_seconds": 20.0},
        ("actions", "expire_action"): {
            "limit": 100,
            "limits": None,
            "words": {},
            "excluded": [],
            "only": None,
        },
    }
    for (file, name), values in asks.items():
        result = await plan(filled, file, name, **values, generic=generic)
        assert "chats" not in scanned(result), name
        assert "chats_action_deadline_idx" in indexes(result), name


@BOTH
async def test_parked_chats_are_found_by_their_deadlines_or_their_family(
    filled: Connection, generic: bool
) -> None:
    """The look of each second and process reads of them only that there is one."""
    await filled.execute(
        "UPDATE chats SET status = 'parked', action_deadline = clock_timestamp()"
        " + interval '1 hour' WHERE id IN (SELECT id FROM chats WHERE status = 'waiting' LIMIT 200)"
    )
    await filled.execute("ANALYZE chats")
    look = {"worker_id": UUID(int=9), "lease_seconds": 20.0}
    result = await plan(filled, "reaps", "look", **look, generic=generic)
    assert "chats_parked_idx" in indexes(result)
    wake = {
        "root_ids": [UUID(int=1)],
        "sweeps": True,
        "after_deadline": None,
        "after_id": None,
        "page_size": 100,
        "limit": 25,
        "max_characters": 100,
        "words": {},
        "limits": None,
        "excluded": [],
        "only": None,
    }
    result = await plan(filled, "families", "wake", **wake, generic=generic)
    assert {"chats_parked_idx", "chats_root_idx", "chats_pkey"} <= indexes(result)
    assert scanned(result) <= {"chat_tool_calls"}, "an empty table"


@BOTH
async def test_report_of_activity_finds_its_chats_by_an_index(
    filled: Connection, generic: bool
) -> None:
    ids = [row["id"] for row in await filled.fetch("SELECT id FROM chats WHERE status = 'running'")]
    reports = {
        "chat_ids": ids,
        "epochs": [1] * len(ids),
        "stages": ["stage"] * len(ids),
        "stage_seconds": [1.0] * len(ids),
        "stage_seconds_left": [9.0] * len(ids),
        "progress_seconds": [0.5] * len(ids),
    }
    result = await plan(
        filled, "leases", "report_activity", worker_id=WORKER, **reports, generic=generic
    )
    assert indexes(result) & {"chats_pkey", "chats_leased_idx"}
    assert "chats" not in scanned(result)


@BOTH
@pytest.mark.parametrize("name", ["messages_after", "messages_before"])
async def test_messages_are_paged_by_their_key(
    filled: Connection, generic: bool, name: str
) -> None:
    chat_id = await filled.fetchval("SELECT id FROM chats LIMIT 1")
    result = await plan(
        filled,
        "reads",
        name,
        chat_id=chat_id,
        message_id=10**6,
        limit=50,
        max_bytes=2**20,
        generic=generic,
    )
    assert indexes(result) == {"chat_messages_pkey", "chat_messages_summary_idx"}
    assert scanned(result) == set()


@BOTH
async def test_transitions_find_all_rows_by_an_index(filled: Connection, generic: bool) -> None:
    chat_id = await filled.fetchval("SELECT id FROM chats WHERE status = 'running' LIMIT 1")
    caller = {"chat_id": chat_id, "owner_id": OWNER}
    fence = {"chat_id": chat_id, "worker_id": WORKER, "epoch": 1}
    step = {**fence, "step": 0, "messages": [], "settled_part": 0, "notices": {}}
    step |= file_parameters([])
    sent = {
        "content": [],
        "earlier": [],
        "tools": None,
        "first_words": "",
        "model_config_id": None,
        "busy_behavior": "queue",
        "max_queued": 20,
        "words": {},
        "limits": {"max_active_chats": 1000, "max_owner_bytes": 10**9},
        **file_parameters([]),
        "request_traceparent": None,
    }
    claim = {**NO_CLAIM, **NO_KEY, **NO_ACTOR}
    agent = caller_arguments(FencingToken(chat_id, WORKER, 1))
    positions = {"chat_ids": [chat_id], "versions": [1], "epochs": [1], "parts": [0]}
    cursors = {**positions, "limit": 200, "max_bytes": 2**20, "owner_id": OWNER}
    cursors |= {"unchanged_too": True}
    finished = {
        "transition": "finish_turn",
        "from_status": "running",
        "keep_lease": True,
        "limits": {"max_running_per_owner": 5},
        "results": [],
        "words": {},
    }
    ask: dict[tuple[str, str], dict[str, Any]] = {
        ("chats", "send"): {**caller, **sent, **agent, **NO_KEY, **NO_ACTOR},
        ("messages", "append"): {
            **caller,
            "messages": [],
            "first_words": "",
            "limits": {"max_owner_bytes": 10**9},
            **file_parameters([]),
            **NO_KEY,
            **NO_ACTOR,
        },
        ("chats", "interrupt"): {
            **caller,
            **agent,
            "limits": None,
            "words": {},
            **NO_KEY,
            **NO_ACTOR,
        },
        ("chats", "delete"): {**caller, "only_expired": True},
        ("reads", "chat_with_family"): caller,
        ("families", "spawn"): {
            **fence,
            "child_id": UUID(int=9),
            "messages": [],
            "title": "",
            "title_by": "words",
            "model_config_id": None,
            "server_tools": None,
            "limits": {"max_running_per_owner": 5},
            "family_limits": ChatLimits().of_family,
            "request_traceparent": None,
        },
        ("families", "park"): {**step, "calls": [], "limits": {"max_running_per_owner": 5}},
        ("families", "agents"): {
            "chat_id": chat_id,
            "ids": None,
            "limit": 100,
            "max_characters": 100,
            "words": {},
        },
        ("titles", "set_title"): {
            "chat_id": chat_id,
            "title": "",
            **Usage().by_kind(),
        },
        ("actions", "answer_action"): {
            **caller,
            "answers": [],
            "complete": False,
            "transition_name": "answer_action",
            "limits": None,
            "request_traceparent": None,
            **claim,
        },
        ("chats", "retry"): {**caller, "limits": None, "request_traceparent": None, **claim},
        ("messages", "edit"): {
            **caller,
            "transition_name": "edit",
            "message_id": 1,
            "content": [],
            **file_parameters([]),
            "limits": None,
            "request_traceparent": None,
            **claim,
        },
        ("tool_calls", "require_action"): {
            **step,
            "timeouts": {"result": 60.0},
            "calls": [],
            "limits": None,
        },
        ("turns", "history"): {"chat_id": chat_id},
        ("files", "file"): {**caller, "file_id": chat_id},
        ("files", "read"): {"chat_id": chat_id, "file_ids": [], "firsts": [], "lengths": []},
        ("tool_outputs", "read"): {
            "chat_id": chat_id,
            "message_id": None,
            "tool_call_id": "c1",
            "offset": 0,
            "length": 1,
        },
        ("turns", "commit_step"): {**step, "calls": []},
        ("tool_calls", "close_calls"): {
            **fence,
            "step": 0,
            "results": [],
            "start_ids": [],
            "asking": [],
            "settled_part": 0,
            **file_parameters([]),
        },
        ("turns", "finish"): {**step, **finished},
        ("stream_reads", "snapshot"): {**caller, "since": 0, "max_bytes": 2**20},
        ("reads", "message_by_client_key"): {**caller, "client_key": "u1"},
        ("stream_reads", "updates_since"): cursors,
        ("reads", "queue"): {
            "chat_id": chat_id,
            "queued_id": 0,
            "limit": 50,
            "max_bytes": 2**20,
        },
        ("reads", "tool_calls"): {"chat_id": chat_id, "message_id": 1, "limit": 100},
        ("reads", "journal"): {"chat_id": chat_id, "version": 1, "limit": 100},
        ("reads", "explain"): {
            **caller,
            "lease_seconds": 20.0,
            "max_ahead": 10_000,
            "max_calls": 50,
        },
    }
    for (file, name), values in ask.items():
        result = await plan(filled, file, name, **values, generic=generic)
        assert not scanned(result) & {"chats", "chat_messages", "chat_events", "chat_files"}, name


async def test_no_index_has_the_heartbeat(filled: Connection) -> None:
    """With such an index no heartbeat would be a HOT update, and the table would bloat."""
    definitions = [row[0] for row in await filled.fetch("SELECT indexdef FROM pg_indexes")]
    assert any("chats_leased_idx" in definition for definition in definitions)
    assert [definition for definition in definitions if "heartbeat_at" in definition] == []


async def test_fillfactor_leaves_space_for_heartbeats(filled: Connection) -> None:
    options = {
        row["relname"]: set(row["reloptions"] or ())
        for row in await filled.fetch(
            "SELECT relname, reloptions FROM pg_class WHERE relname IN ('chats', 'workers')"
        )
    }
    assert "fillfactor=70" in options["chats"]
    assert "fillfactor=50" in options["workers"]


@BOTH
async def test_active_chats_are_counted_by_their_index(filled: Connection, generic: bool) -> None:
    body = await filled.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'chat_active_count'")
    query = body.replace("= owner", "= $1").replace("LIMIT max_active", "LIMIT $2")
    result = await plan_of(filled, query, OWNER, 1000, generic=generic)
    assert indexes(result) == {"chats_active_idx", "chats_held_idx"}
    assert scanned(result) == set()


@BOTH
async def test_space_of_an_owner_is_added_up_in_its_index(
    filled: Connection, generic: bool
) -> None:
    await filled.execute("UPDATE chats SET stored_bytes = 65536 WHERE status = 'pending'")
    body = await filled.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'chat_owner_bytes'")
    result = await plan_of(filled, body.replace("= owner", "= $1"), OWNER, generic=generic)
    assert indexes(result) == {"chats_large_idx"}
    assert kinds(result) == {"Aggregate", "Index Only Scan"}


async def test_stats_read_no_table(dsn: str, database: Database) -> None:
    """The query of every few seconds and process reads partial indexes of a large table of chats."""
    await fill(dsn)
    async with database.dedicated_connection() as connection:
        await connection.execute(
            "UPDATE chats SET status = 'error', last_error = 'x' WHERE id IN"
            " (SELECT id FROM chats WHERE status = 'waiting' LIMIT 100);"
            "UPDATE chats SET status = 'requires_action', action_deadline = now() WHERE id IN"
            " (SELECT id FROM chats WHERE status = 'waiting' LIMIT 100);"
            "UPDATE chats SET status = 'parked', action_deadline = now() WHERE id IN"
            " (SELECT id FROM chats WHERE status = 'waiting' LIMIT 100);"
        )
        await connection.execute("VACUUM ANALYZE chats")
        text, args = sql.load("stats")["collect"].bind(lease_seconds=20.0, exact_count_max_bytes=0)
        answer = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *args)
    [root] = json.loads(answer)
    ran = [node for node in nodes(root["Plan"]) if node["Actual Loops"]]
    assert "chats" not in {
        node.get("Relation Name") for node in ran if node["Node Type"] == "Seq Scan"
    }
    assert {
        "chats_oldest_idx",
        "chats_returned_idx",
        "chats_held_idx",
        "chats_leased_idx",
        "chats_action_deadline_idx",
        "chats_parked_idx",
        "chats_failed_idx",
    } == {
        node["Index Name"] for node in ran if "Index Name" in node and "chats" in node["Index Name"]
    }
