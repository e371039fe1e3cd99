"""Checks of a server and a database before the first actor starts: what no wait can cure, in words."""

from typing import Final

import asyncpg
import structlog

from chatd.domain.errors import DatabaseUnavailable, DatabaseUnsuitable
from chatd.store import sql
from chatd.store.connector import PINNED_SETTINGS, Connection
from chatd.store.database import Database

_log = structlog.get_logger()
_Q = sql.load("server_check")

OLDEST_SERVER: Final = 15
"""Oldest major version of PostgreSQL on which chatd is tested."""
HARMFUL_SETTINGS: Final = (
    *("default_transaction_isolation", "default_transaction_read_only"),
    *("row_security", "standard_conforming_strings"),
)
"""Pinned settings whose other values change results. The rest cost time or a connection."""


async def check_server(connection: Connection) -> None:
    """Raise ``DatabaseUnsuitable`` if chatd cannot work in this database, whatever its schema.

    Raises ``DatabaseUnavailable`` at a server that is read-only, because a failover may be under way.
    """
    row = await connection.fetchrow(_Q["server"].text)
    assert row is not None  # noqa: S101 - a query without FROM returns one row
    product: str = row["product"]
    if not product.startswith("PostgreSQL"):
        raise DatabaseUnsuitable(
            f"The server is no PostgreSQL: it says {product.split(' ', maxsplit=1)[0]}."
        )
    if row["version"] < OLDEST_SERVER * 10_000:
        raise DatabaseUnsuitable(
            f"The server is PostgreSQL {row['version'] // 10_000}: chatd needs {OLDEST_SERVER} or newer."
        )
    if row["encoding"] != "UTF8":
        raise DatabaseUnsuitable(
            f"The database {row['database']} has the encoding {row['encoding']}, and chatd needs UTF8: "
            f"create another one, by CREATE DATABASE {row['database']} ENCODING 'UTF8' TEMPLATE template0."
        )
    if row["schema"] is None:
        raise DatabaseUnsuitable(
            f"The search_path of {row['role']} ({row['search_path']}) has no schema that exists and that "
            f"the role may use: CREATE SCHEMA {row['first_schema']} AUTHORIZATION {row['role']}, or "
            f"GRANT USAGE, CREATE ON SCHEMA {row['first_schema']} TO {row['role']}."
        )
    if row["read_only"]:
        raise DatabaseUnavailable(
            "The database is read-only: it is a standby, or a failover is under way."
        )


async def check_may_create(connection: Connection) -> None:
    """Raise ``DatabaseUnsuitable`` if the role may not create tables in its schema."""
    row = await connection.fetchrow(_Q["may_create"].text)
    assert row is not None  # noqa: S101 - a query without FROM returns one row
    if not row["may_create"]:
        raise DatabaseUnsuitable(
            f"The role {row['role']} may not create tables in the schema {row['schema']}: "
            f"GRANT CREATE ON SCHEMA {row['schema']} TO {row['role']}."
        )


async def check_settings(database: Database) -> None:
    """Raise ``DatabaseUnsuitable`` if a pooler dropped the settings of our connections, and it matters."""
    in_force = await database.fetch(_Q["settings_in_force"], names=list(HARMFUL_SETTINGS))
    wrong = [row["name"] for row in in_force if row["setting"] != PINNED_SETTINGS[row["name"]]]
    if wrong:
        role = in_force[0]["role"]
        advice = "; ".join(
            f"ALTER ROLE {role} SET {name} = '{PINNED_SETTINGS[name]}'" for name in sorted(wrong)
        )
        raise DatabaseUnsuitable(
            f"The pooler drops chatd's settings, and others change what its statements mean: {advice}."
        )


async def report_case_rules(database: Database) -> None:
    """Log a warning if the server has no rules for the case of letters outside ASCII.

    Raises ``DatabaseUnsuitable`` if the collation is missing, as after a restore on a server without ICU.
    """
    try:
        row = await database.fetchrow(_Q["case_rules"])
    except asyncpg.UndefinedObjectError as error:
        raise DatabaseUnsuitable(
            "The database has no collation chat_case: CREATE COLLATION chat_case (locale = 'C.UTF-8')."
        ) from error
    if row is None or not row["known"]:
        _log.warning("database.case_rules_missing")
