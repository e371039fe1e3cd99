"""Databases that chatd cannot use: one line with what to do, and 78. Settings that must not leak in."""

import asyncio
from urllib.parse import quote

import asyncpg
import pytest
from support.factories import insert_models
from support.roles import temporary_role

from chatd.cli.exit_codes import Exit, exit_code_for
from chatd.domain.errors import DatabaseBusy, DatabaseUnavailable, DatabaseUnsuitable
from chatd.store.connector import PINNED_SETTINGS, Connection, Connector
from chatd.store.database import Database
from chatd.store.migrations import migrate
from chatd.store.server_check import check_server, check_settings

LEAKS = {
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "lock_timeout": "1ms",
    "statement_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "row_security": "off",
    "jit": "on",
    "plan_cache_mode": "force_custom_plan",
}


async def test_role_without_create_is_told_the_grant(server: str) -> None:
    async with temporary_role(server) as role:
        await role.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC, pg_database_owner")
        with pytest.raises(DatabaseUnsuitable) as raised:
            await migrate.up(role.dsn)
        assert f"GRANT CREATE ON SCHEMA public TO {role.name}" in str(raised.value)
        assert exit_code_for(raised.value) == Exit.CONFIGURATION
        await role.execute("GRANT CREATE ON SCHEMA public TO {role}")
        assert await migrate.up(role.dsn)


async def test_search_path_without_a_schema_is_told_what_to_create(server: str) -> None:
    async with temporary_role(server) as role:
        for path in ("nowhere", '"$user"'):
            await role.execute(f"ALTER ROLE {{role}} SET search_path = {path}")
            schema = role.name if "user" in path else path
            with pytest.raises(DatabaseUnsuitable) as raised:
                await migrate.up(role.dsn)
            assert f"CREATE SCHEMA {schema} AUTHORIZATION {role.name}" in str(raised.value)
        await role.execute("CREATE SCHEMA AUTHORIZATION {role}")
        assert await migrate.up(role.dsn)
        options = quote("-c search_path=public", safe="")
        states = await migrate.status(f"{role.dsn}?options={options}")
        assert {state.state for state in states} == {"pending"}, "the URL names another schema"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_database_must_be_utf8(server: str, encoding: str) -> None:
    options = f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    async with temporary_role(server, options=options) as role:
        with pytest.raises(
            DatabaseUnsuitable, match=f"the encoding {encoding}, and chatd needs UTF8"
        ):
            await migrate.up(role.dsn)


class StubConnection:
    """A server whose answer the test chooses, in place of one that is not installed."""

    def __init__(self, **row: object) -> None:
        self._row = row

    async def fetchrow(self, _query: str) -> dict[str, object]:
        good = {
            "product": "PostgreSQL 15.1 on x86_64", "version": 150001, "encoding": "UTF8",
            "database": "d", "role": "r", "search_path": "public", "first_schema": "public",
            "schema": "public", "read_only": False,
        }  # fmt: skip
        return good | self._row


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        ({"product": "CockroachDB CCL v24.1"}, DatabaseUnsuitable, "it says CockroachDB"),
        ({"version": 140012}, DatabaseUnsuitable, "is PostgreSQL 14: chatd needs 15 or newer"),
        ({"version": 110002, "product": "PostgreSQL 11.2-YB"}, DatabaseUnsuitable, "PostgreSQL 11"),
        ({"read_only": True}, DatabaseUnavailable, "read-only: it is a standby"),
    ],
)  # fmt: skip
async def test_server_is_refused_in_words(
    row: dict[str, object], error: type[Exception], words: str
) -> None:
    connection: Connection = StubConnection(**row)  # type: ignore[assignment]
    with pytest.raises(error, match=words):
        await check_server(connection)
    await check_server(StubConnection())  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["ROLE {role}", "DATABASE {role}"])
async def test_settings_of_role_and_database_do_not_leak(server: str, level: str) -> None:
    async with temporary_role(server) as role:
        await migrate.up(role.dsn)
        await role.execute(
            *(f"ALTER {level} SET {name} = '{value}'" for name, value in LEAKS.items())
        )
        database = Database(role.dsn, pool_size=3)
        await database.open()
        try:
            in_force = {
                row["name"]: row["setting"]
                for row in await database.fetch(
                    "SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(LEAKS)
                )
            }
            assert in_force == {**PINNED_SETTINGS, "statement_timeout": "9000"}
            await check_settings(database)
            await insert_models(database)
            assert await migrate.down(role.dsn, to=0)
            assert await migrate.up(role.dsn)
        finally:
            await database.close()


async def test_statement_is_planned_once_for_a_connection(dsn: str) -> None:
    database = Database(dsn, pool_size=1)
    await database.open()
    query = "SELECT count(*) FROM chats WHERE owner_id = $1"
    for _ in range(3):
        await database.fetch(query, "ann")
    (plans,) = await database.fetch(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", query
    )
    assert tuple(plans) == (3, 0)
    await database.close()


async def test_concurrent_updates_of_one_row_are_serial_under_repeatable_read(server: str) -> None:
    async with temporary_role(server) as role:
        await role.execute(
            "ALTER ROLE {role} SET default_transaction_isolation = 'repeatable read'",
            "CREATE TABLE counter AS SELECT 0 AS n",
            "GRANT ALL ON counter TO {role}",
        )
        database = Database(role.dsn, pool_size=8)
        await database.open()
        try:
            await asyncio.gather(
                *(database.fetch("UPDATE counter SET n = n + 1") for _ in range(200))
            )
            [row] = await database.fetch("SELECT n FROM counter")
            assert row["n"] == 200
        finally:
            await database.close()


async def test_harmful_setting_behind_a_pooler_is_named(server: str) -> None:
    """A pooler that drops settings is played by a connector that does not send them."""
    async with temporary_role(server) as role:
        await role.execute("ALTER ROLE {role} SET default_transaction_isolation = 'serializable'")
        database = Database(role.dsn)
        database._connector.pins_settings = False
        await database.open()
        try:
            with pytest.raises(DatabaseUnsuitable) as raised:
                await check_settings(database)
            expected = (
                f"ALTER ROLE {role.name} SET default_transaction_isolation = 'read committed'"
            )
            assert expected in str(raised.value)
        finally:
            await database.close()


async def test_slow_statement_is_busy_and_not_unavailable(dsn: str) -> None:
    database = Database(dsn, statement_timeout_seconds=0.5)
    await database.open()
    try:
        with pytest.raises(DatabaseBusy):
            await database.fetch("SELECT pg_sleep(60)")
    finally:
        await database.close()


async def test_connector_leaves_out_what_a_pooler_refuses(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, packets = asyncpg.connect, []

    async def pooler(**arguments: object) -> object:
        settings = arguments["server_settings"]
        assert isinstance(settings, dict)
        packets.append(set(settings))
        if "jit" in settings:
            raise asyncpg.ProtocolViolationError("unsupported startup parameter: jit")
        return await connect(**arguments)

    monkeypatch.setattr(asyncpg, "connect", pooler)
    connector = Connector(dsn, connect_timeout_seconds=10, statement_timeout_seconds=10)
    for _ in range(2):
        connection = await connector.connect()
        await connection.close()
    assert packets[0] > {"application_name", *PINNED_SETTINGS}
    assert packets[1:] == [{"application_name"}] * 2, "it asks once"
