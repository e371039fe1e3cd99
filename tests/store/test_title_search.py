"""Search in titles: it ignores the case of all letters, whatever the locale of the database."""

from collections.abc import Iterator
from socket import socket
from types import MappingProxyType
from typing import Final

import pytest
from structlog.testing import capture_logs
from support.embedded_postgres import DEBIAN_BUILDS
from support.factories import OWNER, chat_with_status, insert_models
from support.roles import temporary_role

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnsuitable
from chatd.embedded import Postgres
from chatd.store.chat_lists import ChatFilter, ChatLists
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.migrations import migrate
from chatd.store.server_check import report_case_rules

C_LOCALE: Final = "ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
"""Options of a database whose own rules know no letters but those of ASCII."""
TITLES: Final = ("Über uns", "ÅNGSTRÖM", "straße", "ΟΔΟΣ", "Ёлка", "100% plain")
FOUND: Final = MappingProxyType(
    {
        "über": ["Über uns"],
        "ÜBER U": ["Über uns"],
        "ångström": ["ÅNGSTRÖM"],
        "Straße": ["straße"],
        "ΟΔΟ": ["ΟΔΟΣ"],
        "οδοσ": ["ΟΔΟΣ"],
        "οδος": ["ΟΔΟΣ"],
        "ёЛКА": ["Ёлка"],
        "0% P": ["100% plain"],
        "uber": [],
    }
)
"""Titles by what is searched for. Lower case depends on the end of a word in Greek, upper case does not."""


@pytest.fixture(params=["server", *DEBIAN_BUILDS], ids=str)
def any_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the server of all tests, which has no ICU, and each of Debian, which has."""
    if request.param == "server":
        yield request.getfixturevalue("server")
        return
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Postgres(bin_dir=request.param, port=port, settings={"fsync": "off"}) as debian:
        yield debian.tcp_dsn


async def test_search_ignores_case_under_any_locale(any_server: str) -> None:
    async with temporary_role(any_server, options=C_LOCALE) as role:
        await migrate.up(role.dsn)
        database = Database(role.dsn)
        await database.open()
        try:
            await check_search(database)
            with capture_logs() as logs:
                await report_case_rules(database)
            assert logs == []
        finally:
            await database.close()
        await migrate.down(role.dsn, to=0)
        await migrate.up(role.dsn)


async def check_search(database: Database) -> None:
    await insert_models(database)
    parent = await chat_with_status(database, Status.WAITING)
    for title in TITLES:
        chat = await chat_with_status(database, Status.WAITING)
        await Chats(database).describe(chat.id, owner_id=OWNER, title=title)
    await database.fetch("UPDATE chats SET parent_chat_id = $1 WHERE id <> $1", parent.id)
    for words, expected in FOUND.items():
        for of_parent in (None, parent.id):
            chat_filter = ChatFilter(title_contains=words, parent=of_parent)
            found = await ChatLists(database).page(owner_id=OWNER, chat_filter=chat_filter)
            assert [chat.title for chat in found] == expected, words


async def test_missing_collation_is_told_how_to_make(database: Database) -> None:
    await database.fetch("DROP COLLATION chat_case")
    with pytest.raises(DatabaseUnsuitable) as raised:
        await report_case_rules(database)
    advice = "CREATE COLLATION chat_case (locale = 'C.UTF-8')"
    assert advice in str(raised.value)
    await database.fetch(advice)
    await check_search(database)


async def test_server_without_rules_for_case_is_reported(database: Database) -> None:
    await database.fetch("DROP COLLATION chat_case")
    await database.fetch("CREATE COLLATION chat_case (locale = 'C')")
    with capture_logs() as logs:
        await report_case_rules(database)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("database.case_rules_missing", "warning")
    ]
