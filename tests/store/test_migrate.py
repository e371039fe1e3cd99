"""Migrations against a real PostgreSQL, with folders of files that each test writes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs
from support.migration_files import MIGRATION_FILES, write_files

from chatd import __version__
from chatd.domain.errors import DatabaseUnavailable, SchemaMismatch
from chatd.store.connector import Connection
from chatd.store.migrations import files, migrate
from chatd.store.migrations.migrate import MigrationError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "migrations", MIGRATION_FILES)


@pytest.fixture
async def conn(empty_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


async def tables(conn: Connection) -> set[str]:
    rows = await conn.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relname !~ '^chatd_schema|_pkey$'"
    )
    return {row["relname"] for row in rows}


async def states(empty_dsn: str, folder: Path) -> list[str]:
    return [state.state for state in await migrate.status(empty_dsn, folder=folder)]


async def test_up_down_up(empty_dsn: str, folder: Path, conn: Connection) -> None:
    assert await states(empty_dsn, folder) == ["pending"] * 3
    assert [each.version for each in await migrate.up(empty_dsn, folder=folder)] == [1, 2, 3]
    assert await tables(conn) == {"chats", "chats_title", "notes"}
    first = (await migrate.status(empty_dsn, folder=folder))[0]
    assert (first.name, first.state, first.applied_by_version) == ("chats", "applied", __version__)
    assert await migrate.up(empty_dsn, folder=folder) == []
    assert [each.version for each in await migrate.down(empty_dsn, to=0, folder=folder)] == [
        3,
        2,
        1,
    ]
    assert await tables(conn) == set()
    await migrate.up(empty_dsn, folder=folder)
    assert await tables(conn) == {"chats", "chats_title", "notes"}


async def test_up_and_down_to_a_version(empty_dsn: str, folder: Path) -> None:
    await migrate.up(empty_dsn, to=2, folder=folder)
    assert await states(empty_dsn, folder) == ["applied", "applied", "pending"]
    await migrate.down(empty_dsn, to=1, folder=folder)
    assert await states(empty_dsn, folder) == ["applied", "pending", "pending"]
    with pytest.raises(MigrationError, match=r"migrate down --to 0"):
        await migrate.up(empty_dsn, to=0, folder=folder)
    with pytest.raises(MigrationError, match="no migration 0004; the newest is 0003"):
        await migrate.up(empty_dsn, to=4, folder=folder)


async def test_connection_argument_is_used_and_left_open(folder: Path, conn: Connection) -> None:
    await migrate.up(conn, folder=folder)
    await migrate.check(conn, folder=folder)
    assert await conn.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_changed_file_is_refused_by_name(empty_dsn: str, folder: Path) -> None:
    await migrate.up(empty_dsn, to=1, folder=folder)
    write_files(folder, {"0001_chats.up.sql": "CREATE TABLE chats (id bigint PRIMARY KEY);\n"})
    with pytest.raises(MigrationError, match=r"0001_chats\.up\.sql was changed after"):
        await migrate.up(empty_dsn, folder=folder)
    assert await states(empty_dsn, folder) == ["changed", "pending", "pending"]


async def test_changed_down_file_or_line_ends_are_accepted(empty_dsn: str, folder: Path) -> None:
    await migrate.up(empty_dsn, folder=folder)
    write_files(folder, {"0001_chats.down.sql": "DROP TABLE IF EXISTS chats;\n"})
    (folder / "0001_chats.up.sql").write_bytes(
        MIGRATION_FILES["0001_chats.up.sql"].replace("\n", "\r\n").encode()
    )
    assert await states(empty_dsn, folder) == ["applied"] * 3


async def test_failed_migration_is_rolled_back_and_names_the_line(
    empty_dsn: str, folder: Path, conn: Connection
) -> None:
    write_files(
        folder,
        {"0003_notes.up.sql": "CREATE TABLE notes (id int);\n\nINSERT INTO nots VALUES (1);"},
    )
    with pytest.raises(MigrationError) as caught:
        await migrate.up(empty_dsn, folder=folder)
    text = 'failed at line 3: relation "nots" does not exist (42P01). Nothing of it was kept.'
    assert str(caught.value) == f"0003_notes.up.sql {text}"
    assert await tables(conn) == {"chats", "chats_title"}
    assert await states(empty_dsn, folder) == ["applied", "applied", "pending"]
    write_files(folder, MIGRATION_FILES)
    await migrate.up(empty_dsn, folder=folder)


async def test_failed_file_without_transaction_names_kept_statements(
    empty_dsn: str, folder: Path, conn: Connection
) -> None:
    broken = MIGRATION_FILES["0002_title.up.sql"].replace(
        "COMMENT ON INDEX chats_title", "COMMENT ON INDEX nope"
    )
    write_files(folder, {"0002_title.up.sql": broken})
    with pytest.raises(
        MigrationError, match=r"at statement 2: .* The 1 statements before it are kept"
    ):
        await migrate.up(empty_dsn, folder=folder)
    assert await tables(conn) == {"chats", "chats_title"}
    assert await states(empty_dsn, folder) == ["applied", "pending", "pending"]


async def test_check_says_which_side_is_behind(folder: Path, conn: Connection) -> None:
    with pytest.raises(SchemaMismatch, match=r"at schema 0000, .* needs 0003 \(3 to apply\)"):
        await migrate.check(conn, folder=folder)
    await migrate.up(conn, to=2, folder=folder)
    with pytest.raises(SchemaMismatch, match=r"at schema 0002, .* 'chatd migrate up'"):
        await migrate.check(conn, folder=folder)
    await migrate.up(conn, folder=folder)
    await migrate.check(conn, folder=folder)


async def test_newer_schema_is_refused_by_an_older_chatd(
    empty_dsn: str, folder: Path, conn: Connection
) -> None:
    await migrate.up(empty_dsn, folder=folder)
    for name in ("0003_notes.up.sql", "0003_notes.down.sql"):
        (folder / name).unlink()
    for attempt in (
        migrate.check(conn, folder=folder),
        migrate.up(empty_dsn, folder=folder),
        migrate.down(empty_dsn, to=0, folder=folder),
    ):
        with pytest.raises(SchemaMismatch, match=r"at schema 0003, .* knows only 0002: run chatd"):
            await attempt
    assert await states(empty_dsn, folder) == ["applied", "applied", "unknown"]


async def test_sql_script_migrates_and_records_like_up(
    empty_dsn: str, folder: Path, conn: Connection
) -> None:
    await run_like_psql(conn, await migrate.sql_script(empty_dsn, folder=folder))
    assert await states(empty_dsn, folder) == ["applied"] * 3
    await migrate.check(conn, folder=folder)
    assert await migrate.up(empty_dsn, folder=folder) == []
    await run_like_psql(conn, await migrate.sql_script(empty_dsn, to=1, folder=folder))
    assert await states(empty_dsn, folder) == ["applied", "pending", "pending"]
    offline = await migrate.sql_script(None, start=1, folder=folder)
    assert offline == await migrate.sql_script(empty_dsn, folder=folder)
    with pytest.raises(MigrationError, match="which version to start at"):
        await migrate.sql_script(None, folder=folder)


async def run_like_psql(conn: Connection, script: str) -> None:
    """Execute a script statement by statement as psql does, without its meta-commands."""
    sql = "\n".join(line for line in script.splitlines() if not line.startswith("\\"))
    for statement in files.Script(file="script", sql=sql).statements():
        await conn.execute(statement)


async def test_concurrent_processes_apply_each_migration_once(empty_dsn: str, folder: Path) -> None:
    code = (
        "import asyncio, pathlib, sys; from chatd.store.migrations import migrate; "
        "done = asyncio.run(migrate.up(sys.argv[1], folder=pathlib.Path(sys.argv[2]))); "
        "print(len(done))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            empty_dsn,
            str(folder),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(3)
    ]
    async with asyncio.timeout(60):
        results = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0], results
    assert sum(int(out.split()[-1]) for out, _ in results) == 3
    assert await states(empty_dsn, folder) == ["applied"] * 3


async def test_wait_for_another_process_is_logged_and_bounded(
    empty_dsn: str, folder: Path, conn: Connection
) -> None:
    await conn.execute("SET application_name = 'the other'")
    await conn.execute(f"SELECT pg_advisory_lock({migrate.ADVISORY_LOCK_KEY})")
    with capture_logs() as lines, pytest.raises(MigrationError, match=r"backend \d+ \(the other\)"):
        await migrate.up(empty_dsn, folder=folder, wait_seconds=0)
    assert [line["event"] for line in lines] == ["migrate.waiting"]
    assert lines[0]["holder"].endswith("(the other)")


async def test_waiting_process_does_not_block_a_concurrent_index(
    empty_dsn: str, folder: Path, conn: Connection
) -> None:
    """The lock is tried again and again rather than waited for. See the page of ``migrate``."""
    await conn.execute(f"SELECT pg_advisory_lock({migrate.ADVISORY_LOCK_KEY})")
    waiting = asyncio.create_task(migrate.up(empty_dsn, folder=folder))
    await conn.execute(MIGRATION_FILES["0001_chats.up.sql"])
    await conn.execute("SET statement_timeout = '20s'")
    await conn.execute("CREATE INDEX CONCURRENTLY chats_title ON chats (title)")
    await conn.execute("DROP TABLE chats")
    await conn.execute(f"SELECT pg_advisory_unlock({migrate.ADVISORY_LOCK_KEY})")
    assert len(await waiting) == 3


async def test_unreachable_database_is_reported() -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
        await migrate.up("postgresql://someone:geheim123@127.0.0.1:1/none")
    assert "geheim123" not in str(caught.value)


async def test_own_migrations_go_up_down_and_up(empty_dsn: str, conn: Connection) -> None:
    """The down files must drop everything except the table of applied migrations."""
    applied = await migrate.up(empty_dsn)
    assert applied == files.load_migrations() != []
    await migrate.check(conn)
    await migrate.down(empty_dsn, to=0)
    remaining = await conn.fetch(
        "SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace"
    )
    assert {row["name"].lstrip("_") for row in remaining} == {
        "chatd_schema_migrations",
        "chatd_schema_migrations_pkey",
    }
    assert await migrate.up(empty_dsn) == applied
