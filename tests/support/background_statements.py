"""The statements that actors run by themselves, derived from the source, and values to explain them."""

import ast
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import chatd
from chatd.domain.chat import Usage
from chatd.store import sql
from chatd.store.connector import Connection
from chatd.store.idempotency import NO_KEY
from support.factories import MODEL, WORKER

PACKAGE = Path(chatd.__file__).parent

ACTORS = (
    "worker/*.py",
    "streaming/*_poller.py",
    "store/notifications/*.py",
    "api/auth/tokens.py",
    "daemon/stats_collector.py",
    "daemon/wiring/actors.py",
)
"""Modules of actors. What a request runs is none of them."""

NAMESAKES: Final = frozenset(
    {
        ("chats", "retry"),
        ("claims", "send_and_claim"),
        ("messages", "append"),
        ("messages", "clear"),
        ("queue", "remove"),
        ("reads", "tool_calls"),
        ("stream_reads", "snapshot"),
    }
)
"""Queries of requests, whose method has the name of another one that an actor calls."""
OF_AGENTS: Final = frozenset({("chats", "interrupt"), ("chats", "send"), ("families", "spawn")})
"""Queries of the tools of agents, each about one family. Their plans are in ``test_query_plans``."""

Statement = tuple[str, str]
"""The file of a query and its name."""


def background_statements() -> set[Statement]:
    """Return every named query that an actor runs, by the methods of stores that its module names."""
    queries = queries_by_method()
    found: set[Statement] = set()
    for pattern in ACTORS:
        for path in PACKAGE.glob(pattern):
            tree = ast.parse(path.read_text())
            found |= set(_named_queries(tree, _loaded_files(tree)))
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute):
                    found |= queries.get(node.attr, set())
    return found - NAMESAKES - OF_AGENTS


def queries_by_method() -> Mapping[str, set[Statement]]:
    """Return the queries of each method of the stores, and of the methods of its class that it calls."""
    queries: dict[str, set[Statement]] = {}
    for path in (PACKAGE / "store").glob("*.py"):
        tree = ast.parse(path.read_text())
        files = _loaded_files(tree)
        own: dict[str, set[Statement]] = {}
        calls: dict[str, set[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef):
                own[node.name] = set(_named_queries(node, files))
                calls[node.name] = {
                    inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)
                }
        for name, called in calls.items():
            found = own[name].union(*(own[other] for other in called & own.keys()))
            queries.setdefault(name, set()).update(found)
    return queries


def _loaded_files(tree: ast.Module) -> Mapping[str, str]:
    """Return the files of queries that a module loads, by the names that it gives them."""
    return {
        node.targets[0].id: str(node.value.args[0].value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "sql.load"
        and isinstance(node.value.args[0], ast.Constant)
    }


def _named_queries(tree: ast.AST, files: Mapping[str, str]) -> Iterator[Statement]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            file = files.get(node.value.id)
            if file is None:
                continue
            if isinstance(node.slice, ast.Constant):
                yield file, str(node.slice.value)
            else:  # chosen at run time
                yield from ((file, name) for name in sql.load(file))


FILL: Final = """
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, pending_since,
                   action_deadline, last_error, worker_id, started_at, heartbeat_at, epoch,
                   version, updated_at)
SELECT id, id, 'owner ' || n % 1000, '{model}', status,
       CASE WHEN status = 'pending' THEN now() END,
       CASE WHEN status IN ('requires_action', 'parked') THEN now() + interval '1 hour' END,
       CASE WHEN status = 'error' THEN 'x' END,
       CASE WHEN status = 'running' THEN '{worker}'::uuid END,
       CASE WHEN status = 'running' THEN now() END,
       CASE WHEN status = 'running' THEN now() END,
       1, {entries}, now() - random() * interval '60 days'
FROM (SELECT n, gen_random_uuid() AS id,
             CASE n % 2000 WHEN 1 THEN 'pending' WHEN 2 THEN 'running' WHEN 3 THEN 'requires_action'
                           WHEN 4 THEN 'error' WHEN 5 THEN 'parked' ELSE 'waiting' END AS status
      FROM generate_series(1, {chats}) n) made;
INSERT INTO chat_events (chat_id, version, created_at, transition, status, epoch)
SELECT id, v, now() - ({entries} - v) * interval '1 minute', 'finish_turn', 'waiting', 1
FROM generate_series(1, {entries}) v, chats;
INSERT INTO chat_tombstones (owner_id, chat_id)
SELECT 'owner ' || n % 1000, gen_random_uuid() FROM generate_series(1, {chats}) n;
INSERT INTO api_tokens (owner_id, hash)
SELECT 'owner ' || n, sha256(n::text::bytea) FROM generate_series(1, {chats} / 10) n;
INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts)
SELECT id, 1, k * 10 + 1, k * 10 + 10, '[{{}},{{}},{{}},{{}},{{}},{{}},{{}},{{}},{{}},{{}}]'
FROM chats, generate_series(0, 199) k WHERE status = 'running';
"""
"""Idle chats, a few of each other status, and a journal."""


async def explained_values(connection: Connection) -> Mapping[str, Any]:
    """Return a value for each parameter of the background statements, by its name."""
    chat_id = await connection.fetchval("SELECT id FROM chats WHERE status = 'running' LIMIT 1")
    earlier = datetime.now(UTC) - timedelta(days=1)
    return {
        **NO_KEY,
        "advance": True,
        "after_deadline": None,
        "after_id": None,
        "after_owner": "",
        "limits": {"max_running_per_owner": 50},
        "max_owners": 10,
        "excluded": [],
        "from_round": 0,
        "from_time": earlier,
        "grace_seconds": 60.0,
        "heartbeats": [earlier],
        "lock_proved": True,
        "max_bytes": 1_000_000,
        "message_id": None,
        "oldest_first": False,
        "only": None,
        "only_expired": True,
        "progress_seconds": [1.0],
        "reasons": ["worker_dead"],
        "suspect_recoveries": 2,
        "suspects": 1,
        "worker_ids": [WORKER],
        "batches": [],
        "chat_id": chat_id,
        "chat_ids": [chat_id],
        "claim_traceparent": None,
        "config": "simple",
        "title": "a title",
        **Usage().by_kind(),
        "end_page": 26,
        "epoch": 1,
        "epochs": [1],
        "exact_count_max_bytes": 0,
        "file_ids": [WORKER],
        "first_page": 10,
        "firsts": [0],
        "hashes": [b"x" * 32],
        "host": "here",
        "ids": None,
        "interval_seconds": 60.0,
        "known_versions": {},
        "lease_ending_transitions": ["release"],
        "lease_seconds": 20.0,
        "lengths": [1],
        "limit": 100,
        "max_characters": 100,
        "max_chats": 10,
        "max_recoveries": 3,
        "words": {},
        "models": [MODEL],
        "next_page": 26,
        "offset": 0,
        "length": 1,
        "tool_call_id": "c1",
        "owner_id": "owner 1",
        "owner_ids": ["owner 1", "owner 2"],
        "parts": [0],
        "page_size": 100,
        "payloads": ["x"],
        "pid": 1,
        "retention_seconds": 7 * 86_400.0,
        "root_ids": [chat_id],
        "silent_seconds": 200.0,
        "since": [datetime.now(UTC) - timedelta(minutes=1)] * 2,
        "stage_seconds": [1.0],
        "stage_seconds_left": [9.0],
        "stages": ["model call"],
        "sweeps": True,
        "table_name": "chat_events",
        "trust_free_locks": True,
        "unchanged_too": False,
        "used_hashes": [b"x" * 32],
        "version": "0",
        "versions": [1],
        "worker_id": WORKER,
    }
