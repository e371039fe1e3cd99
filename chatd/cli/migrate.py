"""``chatd migrate``: changes of the schema, by hand or from a deployment."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from chatd.cli.options import Config, Flag, load_settings
from chatd.cli.output import Json, echo, format_table, print_json
from chatd.domain.errors import DatabaseAccessDenied, DatabaseUnavailable
from chatd.store.migrations import migrate
from chatd.store.migrations.files import Migration
from chatd.store.migrations.migrate import MigrationError

app = App(
    name="migrate",
    help="Apply, revert or list the migrations of the database.",
    help_epilogue="""Examples:
  chatd migrate status
  chatd migrate up
  chatd migrate down --to 3
  chatd migrate sql --from 0 > schema.sql    (for psql; needs no connection)

Any number of processes may run 'up' at once. One applies the migrations and the
others wait for it. If database.direct_url is set, it is used, because the lock
does not work through a connection pooler.""",
)

_RETRY_SECONDS = 0.5

WaitSeconds = Annotated[
    float,
    Parameter(
        name="--wait-seconds",
        help="Time limit for waiting for the database, and for another process that migrates.",
    ),
]


@app.command
def up(
    *,
    to: Annotated[int | None, Parameter(help="Last version to apply. Default: the newest.")] = None,
    wait_seconds: WaitSeconds = 60,
    json: Json = False,
    config: Config = None,
) -> None:
    """Apply the pending migrations. A database that is not reachable yet is waited for."""
    applied = asyncio.run(_up_once_reachable(_dsn(config), to=to, wait_seconds=wait_seconds))
    _print_migrations("applied", applied, "Nothing to apply.", json=json)


@app.command
def down(
    *,
    to: Annotated[int, Parameter(help="Version to return to. 0 removes everything.")],
    yes: Annotated[
        Flag, Parameter(help="Do not ask for confirmation. Required without a terminal.")
    ] = False,
    wait_seconds: WaitSeconds = 60,
    json: Json = False,
    config: Config = None,
) -> None:
    """Revert migrations, newest first. Their data is deleted."""
    dsn = _dsn(config)
    states = asyncio.run(migrate.status(dsn))
    to_revert = [state for state in states if state.version > to and state.applied_at is not None]
    if to_revert and not yes:
        _confirm([f"{state.version:04}_{state.name}" for state in reversed(to_revert)])
    reverted = asyncio.run(migrate.down(dsn, to=to, wait_seconds=wait_seconds))
    _print_migrations("reverted", reverted, "Nothing to revert.", json=json)


@app.command
def status(
    *,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show the state of every migration: applied, pending, changed or unknown to this chatd."""
    states = asyncio.run(migrate.status(_dsn(config)))
    if json:
        print_json([asdict(migration) for migration in states])
        return
    rows = [
        (
            f"{migration.version:04}",
            migration.name,
            migration.state,
            migration.applied_at.isoformat(" ", "seconds") if migration.applied_at else "",
            migration.applied_by_version or "",
        )
        for migration in states
    ]
    echo(format_table(("VERSION", "NAME", "STATE", "APPLIED", "BY CHATD"), rows))


@app.command
def sql(
    *,
    start: Annotated[
        int | None,
        Parameter(name="--from", help="Version to start at. Default: that of the database."),
    ] = None,
    to: Annotated[int | None, Parameter(help="Version to end at. Default: the newest.")] = None,
    config: Config = None,
) -> None:
    """Print the SQL of 'up', or of 'down' if --to is lower, to run it by hand.

    The SQL records the migrations, so 'chatd migrate' continues after them.
    """
    dsn = None if start is not None else _dsn(config)
    echo(asyncio.run(migrate.sql_script(dsn, start=start, to=to)), end="")


async def _up_once_reachable(dsn: str, *, to: int | None, wait_seconds: float) -> list[Migration]:
    """Apply migrations. Wait for a database that is still starting, as ``chatd run`` does."""
    give_up_at = time.monotonic() + wait_seconds
    reported = False
    while True:
        try:
            return await migrate.up(dsn, to=to, wait_seconds=wait_seconds)
        except DatabaseUnavailable as error:
            if isinstance(error, DatabaseAccessDenied) or time.monotonic() >= give_up_at:
                raise
            if not reported:
                echo(f"Waiting for the database: {error}", error=True)
                reported = True
        await asyncio.sleep(_RETRY_SECONDS)


def _print_migrations(
    verb: str, migrations: Sequence[Migration], empty_message: str, *, json: bool
) -> None:
    """Print migrations in the order in which they were applied or reverted."""
    if json:
        listed = [
            {"version": migration.version, "name": migration.name} for migration in migrations
        ]
        print_json({verb: listed})
        return
    echo("\n".join(f"{verb} {migration.label}" for migration in migrations) or empty_message)


def _dsn(config: Path | None) -> str:
    database = load_settings(config).database
    return (database.direct_url or database.url).get_secret_value()


def _confirm(labels: list[str]) -> None:
    """Ask for confirmation. Raise ``MigrationError`` without a terminal or without a yes."""
    if not sys.stdin.isatty():
        raise MigrationError(
            "There is no terminal to ask on: use --yes to revert without confirmation."
        )
    echo(f"This reverts {', '.join(labels)} and deletes their data.", error=True)
    echo("Continue? [y/N] ", end="", error=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise MigrationError("Nothing was reverted.")
