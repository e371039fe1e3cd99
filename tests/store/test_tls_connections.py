"""Connections by TLS to a real server, with the parameters that providers hand out."""

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from socket import socket

import pytest
from support.certificates import Certificates, make_certificates
from support.embedded_postgres import DEBIAN_BUILDS
from support.in_process import running_daemon
from support.provider_urls import AUTHORITY, PROVIDER_URLS

from chatd.domain.errors import DatabaseAccessDenied
from chatd.embedded import Postgres
from chatd.store.database import Database
from chatd.store.database_url import split
from chatd.store.migrations import migrate


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    """Yield certificates that the account of the server may read."""
    folder = Path(tempfile.mkdtemp())
    files = make_certificates(folder)
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = "postgres" if "postgres" in names else "nobody"
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, account)
    files.key.chmod(0o600)
    yield files
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[str]:
    if not DEBIAN_BUILDS:
        pytest.skip("there is no PostgreSQL with TLS here")
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(certificates.certificate),
        "ssl_key_file": str(certificates.key),
    }
    with Postgres(bin_dir=DEBIAN_BUILDS[-1], port=port, settings=settings) as server:
        yield server.tcp_dsn.replace("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def tls_database(tls_server: str) -> str:
    """Return the URL of a database with the schema on the server with TLS."""
    asyncio.run(migrate.up(tls_server))
    return tls_server


async def is_encrypted(url: str) -> bool:
    async with Database(url, connect_timeout_seconds=10).dedicated_connection() as connection:
        return bool(
            await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        )


@pytest.mark.parametrize(
    ("parameters", "encrypted"),
    [
        ("", True),
        ("sslmode=disable", False),
        ("sslmode=require&channel_binding=require", True),
        ("sslmode=require&sslrootcert={authority}", True),
        ("sslmode=verify-ca&sslrootcert={authority}", True),
        ("sslmode=verify-full&sslrootcert={authority}", True),
        ("ssl=true&pgbouncer=true&connection_limit=1", True),
        ("sslmode=require&supa=base-pooler.x&connect_timeout=10&keepalives=1", True),
    ],
)
async def test_connects_by_tls(
    parameters: str, encrypted: bool, tls_server: str, certificates: Certificates
) -> None:
    query = parameters.format(authority=certificates.authority)
    assert await is_encrypted(f"{tls_server}?{query}") is encrypted


async def test_unverified_certificate_is_denied_in_words(tls_server: str) -> None:
    with pytest.raises(DatabaseAccessDenied, match=r"cannot be verified .*sslrootcert"):
        await is_encrypted(f"{tls_server}?sslmode=verify-full&sslrootcert=system")


async def test_server_without_tls_is_denied_in_words(tcp_server: str) -> None:
    with pytest.raises(DatabaseAccessDenied, match="the server has no TLS: set sslmode=disable"):
        await is_encrypted(f"{tcp_server}?sslmode=require")


def local_url(url: str, database: str, authority: Path) -> str:
    """Return a provider's URL with its scheme and parameters, at the login and place of ``database``."""
    ours, theirs = split(database), split(url)
    parameters = [
        parameter
        for parameter in theirs.query.replace(AUTHORITY, str(authority)).split("&")
        if not parameter.startswith("host=")  # a socket of Cloud SQL
    ]
    place = f"{ours.login}@{ours.hosts}{ours.path}"
    return f"{theirs.scheme}://{place}?{'&'.join(parameters)}"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(url, id=name)
        for name, url in PROVIDER_URLS.items()
        if "options=endpoint" not in url  # a word that only the proxy of Neon knows
        and "sslrootcert=system" not in url  # no public authority signs for this machine
    ],
)
async def test_daemon_starts_with_the_url_of_a_provider(
    url: str, tls_database: str, certificates: Certificates
) -> None:
    async with running_daemon(local_url(url, tls_database, certificates.authority)) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
