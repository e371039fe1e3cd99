"""Query plans of PostgreSQL."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chatd.store import sql
from chatd.store.connector import Connection

BOTH = pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])


async def plan(
    connection: Connection, file: str, name: str, *, generic: bool, **values: Any
) -> Any:
    """Return the plan of a named query, for these values or (``generic``) for any."""
    text, args = sql.load(file)[name].bind(**values)
    return await plan_of(connection, text, *args, generic=generic)


async def plan_of(connection: Connection, query: str, *args: Any, generic: bool) -> Any:
    """Return the plan of a statement, for these values or (``generic``) for any."""
    if not generic:
        answer = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *args)
    else:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE explained AS {query}")
        nulls = f"({', '.join(['NULL'] * len(args))})" if args else ""
        answer = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE explained {nulls}")
        await connection.execute("DEALLOCATE explained")
    (root,) = json.loads(answer)
    return root["Plan"]


def nodes(plan: Any) -> Iterator[Any]:
    """Yield all nodes of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def indexes(plan: Any) -> set[str]:
    """Return the names of the indexes that a plan reads."""
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def kinds(plan: Any) -> set[str]:
    """Return the types of the nodes of a plan."""
    return {node["Node Type"] for node in nodes(plan)}


def scanned(plan: Any) -> set[str]:
    """Return the names of the tables that a plan reads sequentially."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
