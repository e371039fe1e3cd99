"""A database that says no: an outage of a running process, and of one that starts, for a limited time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from support.eventually import eventually
from support.http import NO_TLS
from support.processes import ChatdProcess, chatd_process
from support.roles import Role, temporary_role
from support.sse_client import client

from chatd.cli.exit_codes import Exit
from chatd.store.migrations import migrate

WRITE_HBA = """
DO $$ BEGIN
    EXECUTE format(
        'COPY (SELECT unnest(string_to_array(LINES, chr(10))) FROM hba) TO %L',
        current_setting('hba_file'));
END $$
"""
"""Statement that replaces the file of client authentication by LINES."""

Change = tuple[tuple[str, ...], tuple[str, ...]]
CHANGES: dict[str, Change] = {
    "no login": (("ALTER ROLE {role} NOLOGIN",), ("ALTER ROLE {role} LOGIN",)),
    "no connections": (
        ("ALTER ROLE {role} CONNECTION LIMIT 0",),
        ("ALTER ROLE {role} CONNECTION LIMIT -1",),
    ),
    "no privilege": (
        (
            "ALTER TABLE chats OWNER TO CURRENT_USER",
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
        ),
        (
            "ALTER TABLE chats OWNER TO {role}",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        ),
    ),
    "changed pg_hba": (
        (
            "CREATE TABLE hba AS SELECT pg_read_file(current_setting('hba_file')) AS lines",
            WRITE_HBA.replace("LINES", "''host all {role} all reject'' || chr(10) || lines"),
            "SELECT pg_reload_conf()",
        ),
        (
            WRITE_HBA.replace("LINES", "lines"),
            "SELECT pg_reload_conf()",
        ),
    ),
    "no right to connect": (
        ("REVOKE CONNECT ON DATABASE {role} FROM PUBLIC, {role}",),
        ("GRANT CONNECT ON DATABASE {role} TO {role}",),
    ),
    "renamed table": (
        ("ALTER TABLE chats RENAME TO elsewhere",),
        ("ALTER TABLE elsewhere RENAME TO chats",),
    ),
}  # fmt: skip


async def status_of(chatd: ChatdProcess, path: str) -> int:
    async with httpx2.AsyncClient(base_url=chatd.url, verify=NO_TLS) as http:
        return (await http.get(path)).status_code


def status_becomes(chatd: ChatdProcess, path: str, status: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        assert chatd.process.poll() is None, "".join(chatd.raw_lines[-20:])
        return await status_of(chatd, path) == status

    return reached


async def check_still_working(chatd: ChatdProcess) -> None:
    await eventually(status_becomes(chatd, "/readyz", 200), interval_seconds=0.1)
    async with client(chatd) as api:
        chat = await api.create("once more")
        await api.wait_for_status(chat["id"], "waiting")
    assert not chatd.logged("supervisor.child_failed")
    assert not chatd.logged("http.unexpected")


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES.keys())
async def test_denial_in_mid_life_is_an_outage(
    before: tuple[str, ...], after: tuple[str, ...], tmp_path: Path, tcp_server: str
) -> None:
    async with temporary_role(tcp_server) as role:
        await migrate.up(role.dsn)
        with chatd_process(tmp_path, role.dsn) as chatd:
            await chatd.wait_until_ready()
            await role.execute(*before)
            await role.disconnect()
            await eventually(status_becomes(chatd, "/api/v1/chats", 503), interval_seconds=0.1)
            await chatd.wait_for_log("outage.began")
            await role.execute(*after)
            await check_still_working(chatd)


@asynccontextmanager
async def changed(role: Role, change: Change) -> AsyncIterator[None]:
    """Make a change on the server, and undo it at the end."""
    before, after = change
    await role.execute(*before)
    try:
        yield
    finally:
        await role.execute(*after)


@pytest.mark.parametrize(
    "denial", ["no login", "no privilege", "changed pg_hba", "no right to connect"]
)
async def test_start_waits_while_access_is_denied(
    denial: str, tmp_path: Path, tcp_server: str
) -> None:
    async with temporary_role(tcp_server) as role, AsyncExitStack() as denied:
        await migrate.up(role.dsn)
        await denied.enter_async_context(changed(role, CHANGES[denial]))
        with chatd_process(tmp_path, role.dsn) as chatd:
            line = await chatd.wait_for_log("database.access_denied")
            assert line["level"] == "warning"
            assert line["reason"].startswith("database."), line
            await chatd.wait_for_address()
            assert await status_of(chatd, "/livez") == 200
            assert await status_of(chatd, "/readyz") == 503
            assert not chatd.logged("daemon.ready")
            await denied.aclose()
            await check_still_working(chatd)
            assert len(chatd.logged("database.access_denied")) == 1


async def test_start_that_is_denied_for_too_long_ends(tmp_path: Path, tcp_server: str) -> None:
    """The reason is in the log at once, and the process ends when the time is over."""
    async with temporary_role(tcp_server) as role:
        await migrate.up(role.dsn)
        wrong = role.url("wrong")
        settings = "[database]\naccess_denied_seconds = 0.5\n"
        with chatd_process(tmp_path, wrong, settings=settings) as chatd:
            denied = await chatd.wait_for_log("database.access_denied")
            assert 0 < denied["ends_in_seconds"] <= 0.5
            assert await chatd.wait_for_exit() == Exit.CONFIGURATION
            [failed] = chatd.logged("daemon.failed")
            assert failed["reason"] == denied["reason"]
            assert "password authentication failed" in failed["reason"]
            assert f"chatd: {failed['reason']}\n" in chatd.raw_lines


async def test_rotated_password_is_read_from_its_file(tmp_path: Path, tcp_server: str) -> None:
    """The server of this test asks for passwords on loopback."""
    async with temporary_role(tcp_server) as role:
        await migrate.up(role.dsn)
        secret = tmp_path / "url"
        secret.write_text(role.dsn)
        environment = {"CHATD_DATABASE__URL": "", "CHATD_DATABASE__URL_FILE": str(secret)}
        with chatd_process(tmp_path, "", environment=environment) as chatd:
            await chatd.wait_until_ready()
            await rotate(role, chatd)
            secret.write_text(role.url("second_of_two"))
            await check_still_working(chatd)
            assert "second_of_two" not in "".join(chatd.raw_lines)


async def rotate(role: Role, chatd: ChatdProcess) -> None:
    await role.execute("ALTER ROLE {role} PASSWORD 'second_of_two'")
    await role.disconnect()
    await eventually(status_becomes(chatd, "/readyz", 503), interval_seconds=0.1)
    assert await status_of(chatd, "/api/v1/chats") == 503
    assert await status_of(chatd, "/livez") == 200


async def test_read_only_default_of_a_role_is_overridden(tmp_path: Path, tcp_server: str) -> None:
    async with temporary_role(tcp_server) as role:
        await migrate.up(role.dsn)
        await role.execute("ALTER ROLE {role} SET default_transaction_read_only = on")
        with chatd_process(tmp_path, role.dsn) as chatd:
            await chatd.wait_until_ready()
            await check_still_working(chatd)
