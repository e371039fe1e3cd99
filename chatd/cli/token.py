"""``chatd token``: the tokens of callers for ``auth.mode = "token"``, stored by ``store.tokens``."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

from cyclopts import App, Parameter

from chatd.cli.formatting import DURATION_EXAMPLES
from chatd.cli.options import Config, load_settings
from chatd.cli.output import Json, echo, format_table, print_json
from chatd.domain.access_scope import AccessScope
from chatd.settings import Settings
from chatd.store.database import Database
from chatd.store.migrations import migrate
from chatd.store.tokens import Token, Tokens

app = App(
    name="token",
    help="Create, list and revoke the tokens that callers authenticate with.",
    help_epilogue="""Examples:
  chatd token create --owner shop
  chatd token create --owner ops --scope operate --scope read-all --expires 90d
  chatd token create --owner prometheus --scope metrics
  chatd token create --owner backend --scope act-for --name 'web app'
  TOKEN=$(chatd token create --owner ci --expires 2027-01-31)
  chatd token list --owner shop
  chatd token revoke 3f0c5ab2-6a38-4a5c-9a43-0f6f0f2f0b1e

Callers need one if auth.mode is "token", in the header
'Authorization: Bearer TOKEN'. These commands use the database, not a running
chatd. A revoked token stops working everywhere within a second.""",
)

Result = TypeVar("Result")


def _parse_expiry(_: type, tokens: Sequence[Any]) -> timedelta | datetime:
    """Parse a duration, or a date or time, in UTC unless it names a time zone."""
    from chatd.cli.logs.times import parse_absolute_time, parse_duration

    text, now = str(tokens[0].value), datetime.now(UTC)
    try:
        duration = parse_duration(text)
        end = parse_absolute_time(text) if duration is None else now + duration
    except OverflowError:
        raise ValueError(f"{text} is too long") from None
    except ValueError:
        raise ValueError(
            f'"{text}" is neither a duration ({DURATION_EXAMPLES}) nor a date (2027-01-31)'
        ) from None
    if duration is not None and not duration:
        raise ValueError("a token with no duration would never be valid")
    if end <= now:
        raise ValueError(f"{text} is in the past")
    return end if duration is None else duration


def _validate_owner(_: type, value: str) -> None:
    from chatd.domain.owner import MAX_OWNER_LENGTH, is_valid_owner

    if not is_valid_owner(value):
        raise ValueError(
            f"an owner is a name of 1 to {MAX_OWNER_LENGTH} characters, without spaces at its ends "
            "and without control characters"
        )


@app.command
def create(
    *,
    owner: Annotated[
        str,
        Parameter(validator=_validate_owner, help="Owner whose chats the token gives access to."),
    ],
    scope: Annotated[
        tuple[AccessScope, ...],
        Parameter(
            name="--scope",
            negative=(),
            help="What the token permits; can be repeated. chats: the owner's own chats; act-for: to be "
            "any owner that a request names; read-all: to read any chat; operate: the status of "
            "processes, and why any chat is in its state; metrics: /metrics.",
        ),
    ] = (AccessScope.CHATS,),
    name: Annotated[
        str, Parameter(show_default=False, help="Purpose, shown by 'token list'.")
    ] = "",
    expires: Annotated[
        timedelta | datetime | None,
        Parameter(
            converter=_parse_expiry,
            n_tokens=1,
            help=f"A duration ({DURATION_EXAMPLES}) or a date. Default: valid until revoked.",
        ),
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Create a token and print it once: only its hash is stored.

    Only the token goes to standard output; details go to standard error.
    """
    settings = load_settings(config)
    token, secret = _with_tokens(
        settings,
        lambda tokens: tokens.create(owner_id=owner, scopes=scope, name=name, expires=expires),
    )
    if json:
        print_json({**_fields(token), "token": secret})
        return
    echo(secret)
    until = f"until {_format_time(token.expires_at)}" if token.expires_at else "until it is revoked"
    echo(
        f"Token {token.id} of {owner} has the scopes {_scopes(token)}, {until}. Save it now; it is not "
        "shown again.",
        error=True,
    )
    if settings.auth.mode != "token":
        echo(f'auth.mode is "{settings.auth.mode}" here, so tokens are not checked.', error=True)


@app.command(name="list")
def list_(
    *,
    owner: Annotated[str | None, Parameter(help="Only tokens of this owner.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """List tokens, oldest first: owner, name, state and last use.

    The time of the last use is recorded every ten seconds.
    """
    stored = _with_tokens(load_settings(config), lambda tokens: tokens.list(owner_id=owner))
    if json:
        print_json([_fields(token) for token in stored])
        return
    echo(format_table(_COLUMNS, [_row(token) for token in stored]))


@app.command
def revoke(
    token_id: Annotated[UUID, Parameter(help="Id of the token, from 'token list'.")],
    /,
    *,
    json: Json = False,
    config: Config = None,
) -> None:
    """Revoke a token for good, on every process and open stream. Can be repeated safely."""
    token = _with_tokens(load_settings(config), lambda tokens: tokens.revoke(token_id))
    if json:
        print_json(_fields(token))
        return
    echo(
        f"Token {token.id} of {token.owner_id} has been revoked since {_format_time(token.revoked_at)}."
    )


_COLUMNS = ("ID", "OWNER", "NAME", "SCOPES", "STATE", "CREATED", "EXPIRES", "LAST USED")


def _row(token: Token) -> Sequence[str]:
    return (
        str(token.id),
        token.owner_id,
        token.name,
        _scopes(token),
        token.state,
        _format_time(token.created_at),
        _format_time(token.expires_at),
        _format_time(token.last_used_at),
    )


def _scopes(token: Token) -> str:
    return ", ".join(sorted(token.scopes))


def _fields(token: Token) -> dict[str, Any]:
    return asdict(token) | {"scopes": sorted(token.scopes)}


def _format_time(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat(" ", "seconds") if at else ""


def _with_tokens(settings: Settings, operation: Callable[[Tokens], Awaitable[Result]]) -> Result:
    """Run an operation on the tokens of the configured database, after checking its schema."""

    async def run() -> Result:
        section = settings.database
        database = Database(
            section.url.get_secret_value(),
            direct_dsn=section.direct_url.get_secret_value() if section.direct_url else None,
            connect_timeout_seconds=section.connect_timeout_seconds,
            statement_timeout_seconds=section.statement_timeout_seconds,
        )
        async with database.dedicated_connection() as connection:
            await migrate.check(connection)
        await database.open()
        try:
            return await operation(Tokens(database))
        finally:
            await database.close()

    return asyncio.run(run())
