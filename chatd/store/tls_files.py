"""Certificates and keys that a database URL names.

asyncpg reads them at each connection, so that rotated ones are used. A file that is missing would look like
an outage then. So they are checked once before the first connection, as a part of the configuration.
"""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from chatd.store.database_url import DatabaseUrl

_USER_DIRECTORY = ".postgresql"
_VERIFYING_MODES = frozenset({"verify-ca", "verify-full"})


def file_problems(url: DatabaseUrl) -> Iterator[str]:
    """Yield why a file that ``url`` names cannot be used."""
    if passfile := url.keywords.get("passfile"):
        yield from _unreadable("passfile", passfile)
    mode = url.tls.get("sslmode", "prefer")
    if mode == "disable":
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    root = url.tls.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if url.verifies_by_system_roots:
        root = None
    elif mode in _VERIFYING_MODES and not root and not _user_file("root.crt").exists():
        yield (
            f"sslmode={mode} needs sslrootcert: the file of the certificate authority, or with verify-full "
            "the word system"
        )
    for name, file in (("sslrootcert", root), ("sslcrl", url.tls.get("sslcrl"))):
        if file:
            yield from _unusable_authority(context, name, file)
    yield from _unusable_identity(context, url)


def system_context(url: DatabaseUrl) -> ssl.SSLContext:
    """Return a context that verifies the server by the certificate authorities of this system."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    if certificate := url.tls.get("sslcert"):
        password = url.tls.get("sslpassword", "")
        context.load_cert_chain(certificate, url.tls.get("sslkey"), lambda: password)
    return context


def _unusable_authority(context: ssl.SSLContext, name: str, file: str) -> Iterator[str]:
    found = list(_unreadable(name, file))
    yield from found
    if found:
        return
    try:
        context.load_verify_locations(cafile=file)
    except (OSError, ValueError):
        yield f"{name}: {file} holds no certificates in PEM format"


def _unusable_identity(context: ssl.SSLContext, url: DatabaseUrl) -> Iterator[str]:
    certificate, key = url.tls.get("sslcert"), url.tls.get("sslkey")
    found = [
        problem
        for name, file in (("sslcert", certificate), ("sslkey", key))
        if file
        for problem in _unreadable(name, file)
    ]
    yield from found
    if found or not certificate:
        return
    if key is None and _user_file("postgresql.key").exists():
        key = str(_user_file("postgresql.key"))
    password = url.tls.get("sslpassword", "")
    try:
        context.load_cert_chain(certificate, key, lambda: password)
    except (OSError, ValueError):
        files = f"{certificate} and {key}" if key else f"{certificate} alone"
        yield f"sslcert, sslkey: {files} are no certificate and its key, or sslpassword does not fit"


def _unreadable(name: str, file: str) -> Iterator[str]:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        yield f"{name}: cannot read {file}: {error.strerror}"


def _user_file(name: str) -> Path:
    return Path(os.environ.get("HOME", "/nonexistent"), _USER_DIRECTORY, name)
