"""``chatd migrate``: the schema, by hand or from a deployment. ``store.migrate`` does the work."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from chatd.cli.options import Config, Flag, load_settings
from chatd.cli.output import Json, print_json
from chatd.cli.table import format_table
from chatd.store.migrations import migrate
from chatd.store.migrations.files import Migration
from chatd.store.migrations.migrate import MigrationError

app = App(
    name="migrate",
    help="Bring the database's schema up to date, take it back, or show it.",
    help_epilogue="""Examples:
  chatd migrate status
  chatd migrate up
  chatd migrate down --to 3
  chatd migrate sql --from 0 > schema.sql    (for psql; needs no connection)

Any number of processes may run 'up' at once; one does the work and the others
wait for it. database.direct_url is used where it is set, because a connection
pooler would lose the lock.""",
)

WaitSeconds = Annotated[
    float,
    Parameter(name="--wait-seconds", help="How long to wait for another process that migrates."),
]


@app.command
def up(
    *,
    to: Annotated[
        int | None, Parameter(help="The last version to apply. Default: the newest.")
    ] = None,
    wait_seconds: WaitSeconds = 60,
    json: Json = False,
    config: Config = None,
) -> None:
    """Apply the migrations that the database does not have yet."""
    done = asyncio.run(migrate.up(_dsn(config), to=to, wait_seconds=wait_seconds))
    _print_migrations("applied", done, "Nothing to apply.", json=json)


@app.command
def down(
    *,
    to: Annotated[int, Parameter(help="The version to go back to; 0 removes everything.")],
    yes: Annotated[Flag, Parameter(help="Do not ask; needed without a terminal.")] = False,
    wait_seconds: WaitSeconds = 60,
    json: Json = False,
    config: Config = None,
) -> None:
    """Revert migrations, newest first. What they stored is lost."""
    dsn = _dsn(config)
    states = asyncio.run(migrate.status(dsn))
    doomed = [each for each in states if each.version > to and each.applied_at is not None]
    if doomed and not yes:
        _confirm([f"{each.version:04}_{each.name}" for each in reversed(doomed)])
    done = asyncio.run(migrate.down(dsn, to=to, wait_seconds=wait_seconds))
    _print_migrations("reverted", done, "Nothing to revert.", json=json)


@app.command
def status(
    *,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show every migration: applied, pending, changed since, or unknown to this chatd."""
    states = asyncio.run(migrate.status(_dsn(config)))
    if json:
        print_json([asdict(each) for each in states])
        return
    rows = [
        (
            f"{each.version:04}",
            each.name,
            each.state,
            each.applied_at.isoformat(" ", "seconds") if each.applied_at else "",
            each.applied_by_version or "",
        )
        for each in states
    ]
    print(format_table(("VERSION", "NAME", "STATE", "APPLIED", "BY CHATD"), rows))


@app.command
def sql(
    *,
    start: Annotated[
        int | None,
        Parameter(name="--from", help="The version to begin at. Default: what the database has."),
    ] = None,
    to: Annotated[int | None, Parameter(help="The version to end at. Default: the newest.")] = None,
    config: Config = None,
) -> None:
    """Print the SQL that 'up' would run, or 'down' when --to is lower, for a person to run.

    It records what it did, so that 'chatd migrate' continues where it ended.
    """
    dsn = None if start is not None else _dsn(config)
    print(asyncio.run(migrate.sql_script(dsn, start=start, to=to)), end="")


def _print_migrations(
    verb: str, migrations: Sequence[Migration], empty_message: str, *, json: bool
) -> None:
    """What was done, in the order in which it was."""
    if json:
        listed = [{"version": each.version, "name": each.name} for each in migrations]
        print_json({verb: listed})
        return
    print("\n".join(f"{verb} {each.label}" for each in migrations) or empty_message)


def _dsn(config: Path | None) -> str:
    database = load_settings(config).database
    return (database.direct_url or database.url).get_secret_value()


def _confirm(labels: list[str]) -> None:
    """Ask the person at the terminal; refuse when there is none."""
    if not sys.stdin.isatty():
        raise MigrationError("There is no terminal to ask on: give --yes to revert without asking.")
    print(f"This reverts {', '.join(labels)} and deletes what they hold.", file=sys.stderr)
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise MigrationError("Nothing was reverted.")
