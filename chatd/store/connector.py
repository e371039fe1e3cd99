"""Connector: opens connections whose settings are chatd's own.

A role or a database may have defaults, by ``ALTER ROLE … SET``, that change what our statements mean:
another isolation level, or a time limit for locks. So each connection brings its settings along, in the
packet that opens it, which costs no round trip. A pooler may refuse that. Then the connector leaves them
out, and ``server_check`` compares what is in force.

Statements are written, and tested, for one plan that serves all parameters. PostgreSQL itself would plan
each statement of a connection five times, 2 ms for a large one, before it considers that plan.

Some settings stay the operator's: ``search_path`` says where the tables are, ``synchronous_commit`` is a
choice between speed and durability, and ``default_toast_compression`` changes no result.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import anyio
import asyncpg

from chatd.store.database_errors import refuses_startup_parameter
from chatd.store.database_url import DatabaseUrl, InvalidDatabaseUrl, parse
from chatd.store.tls_files import system_context

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PINNED_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "off",
        "default_transaction_deferrable": "off",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "row_security": "on",
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "TimeZone": "UTC",
        "bytea_output": "hex",
        "standard_conforming_strings": "on",
        "jit": "off",  # compiling a statement that runs for 1 ms takes 100 ms
        "plan_cache_mode": "force_generic_plan",
    }
)
"""Settings of every connection. ``statement_timeout`` is another, with a value of its own."""

_SERVER_SHARE: Final = 0.9
"""Part of the time limit of a statement after which the server gives it up. The rest is for its answer, so
that a slow statement is not taken for an unavailable server."""

_CLOSE_TIMEOUT_SECONDS: Final = 1.0
"""Time for closing a connection in order. It includes the cancellation of its statement."""


async def close_connection(connection: Connection) -> None:
    """Close a connection in order, or drop it when that takes too long."""
    with anyio.CancelScope(shield=True), suppress(Exception):
        await connection.close(timeout=_CLOSE_TIMEOUT_SECONDS)


class Connector:
    """Opens connections to one database.

    ``current_url`` is called before each connection. Its user and password count, so that a rotated
    password needs no restart. Everything else stays as it was at the start.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_seconds: float,
        statement_timeout_seconds: float | None,
        application_name: str = "chatd",
        current_url: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._text = url
        self._url: DatabaseUrl | None = None
        self._current_url = current_url
        self._connect_timeout_seconds = connect_timeout_seconds
        self._command_timeout_seconds = statement_timeout_seconds
        self._application_name = application_name
        server_seconds = (statement_timeout_seconds or 0) * _SERVER_SHARE
        self.pinned_settings: Mapping[str, str] = {
            **PINNED_SETTINGS,
            "statement_timeout": str(round(server_seconds * 1000)),
        }
        self.pins_settings = True
        """False once a pooler has refused the settings of a connection."""

    async def connect(self, *_arguments: Any, **given: Any) -> Connection:
        """Open a connection. ``given`` are the arguments of asyncpg's pool, which has none by position."""
        url = self._current()
        try:
            return await self._open(url, given)
        except asyncpg.ProtocolViolationError as error:
            if not self.pins_settings or not refuses_startup_parameter(error):
                raise
        self.pins_settings = False
        return await self._open(url, given)

    async def _open(self, url: DatabaseUrl, given: Mapping[str, Any]) -> Connection:
        pinned = self.pinned_settings if self.pins_settings else {}
        arguments = url.connect_arguments()
        if url.verifies_by_system_roots:
            arguments["ssl"] = system_context(url)
        connection: Connection = await asyncpg.connect(
            **arguments,
            **given,
            timeout=min(
                self._connect_timeout_seconds,
                url.connect_timeout_seconds or self._connect_timeout_seconds,
            ),
            command_timeout=self._command_timeout_seconds,
            server_settings={
                "application_name": self._application_name,
                **url.server_settings,
                **pinned,
            },
        )
        return connection

    def _current(self) -> DatabaseUrl:
        try:
            if self._url is None:
                self._url = parse(self._text)
            text = self._current_url()
            return self._url if text is None else self._url.with_login_of(parse(text))
        except InvalidDatabaseUrl as error:
            raise asyncpg.ClientConfigurationError(str(error)) from None
