"""``chatd logs``: what chatd logged, found and made readable. ``chatd.logs`` does the work."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from chatd.cli.as_json import show_json
from chatd.cli.exits import Exit
from chatd.cli.start import Flag
from chatd.cli.words import DURATIONS
from chatd.domain.errors import ChatdError

if TYPE_CHECKING:
    from chatd.logs.reading import Entry
    from chatd.logs.wanted import Wanted

Level = Literal["debug", "info", "warning", "error", "critical"]

app = App(
    name="logs",
    help_epilogue="""Reads files (also .gz, and several, oldest first), or standard input: what
'journalctl -o cat', '-o json' or a container's log prints. Lines that are not
events are shown as they are, unless --chat, --event or --level is given. Times
are UTC.

Examples:
  chatd logs chatd.log --level warning --since 2h
  chatd logs -f chatd.log --chat 5bd0a6e5
  journalctl -u chatd -o cat -f | chatd logs --event 'chat.*'
  chatd logs chatd.log.1.gz chatd.log --since 09:00 --until 09:30
  chatd logs chatd.log --event chat.turn --json | jq .seconds
  chatd logs --events                      (what each event means, what to do)""",
)


@app.default
def logs(
    *files: Annotated[
        Path, Parameter(help="Files of the log, oldest first. Default: standard input.")
    ],
    follow: Annotated[
        bool,
        Parameter(
            name=["--follow", "-f"], show_default=False, help="Go on with what is written later."
        ),
    ] = False,
    chat: Annotated[str | None, Parameter(help="Only this chat: its id, or how it begins.")] = None,
    level: Annotated[Level, Parameter(help="The least serious level.")] = "debug",
    event: Annotated[
        str | None, Parameter(help="Only this event; a pattern may have * in it.")
    ] = None,
    since: Annotated[
        str | None, Parameter(help=f"{DURATIONS} (ago); 09:00, 2026-01-02, 2026-01-02T09:00.")
    ] = None,
    until: Annotated[str | None, Parameter(help="The same, for the end.")] = None,
    json: Annotated[Flag, Parameter(help="Print the events as they were written.")] = False,
    no_color: Annotated[Flag, Parameter(help="No colours; also with $NO_COLOR.")] = False,
    events: Annotated[Flag, Parameter(help="Explain every event.")] = False,
) -> int:
    """Read the log: follow it, filter it, make it readable."""
    if events:
        return _explain(json=json)
    from chatd.logs.wanted import Wanted  # noqa: PLC0415  (help does not pay for these)

    now = datetime.now(UTC)
    wanted = Wanted(
        chat=chat,
        event=event,
        level=level,
        since=_moment("--since", since, now),
        until=_moment("--until", until, now),
    )
    try:
        for source in _sources(files, follow=follow):
            _copy(source, wanted, _as_written if json else _readable(no_color=no_color))
    except KeyboardInterrupt:
        return Exit.STOPPED
    except BrokenPipeError:
        raise
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise ChatdError(named) from error
    return Exit.DONE


def _sources(files: tuple[Path, ...], *, follow: bool) -> "Iterator[Iterator[bytes | None]]":
    """The chunks of each file."""
    from chatd.logs.following import Followed, chunks, of_file  # noqa: PLC0415

    if not files:
        yield chunks(sys.stdin.buffer)
    for number, file in enumerate(files, 1):
        yield Followed(file).chunks() if follow and number == len(files) else of_file(file)


def _copy(
    source: "Iterator[bytes | None]", wanted: "Wanted", printed: "Callable[[Entry], bytes | None]"
) -> None:
    """Print what is wanted of a source, as soon as it is there."""
    from chatd.logs.reading import Lines, entry_of  # noqa: PLC0415

    lines = Lines()
    for chunk in chain(source, [None]):
        block = lines.end() if chunk is None else lines.take(chunk)
        entries = map(entry_of, wanted.among(block))
        found = [printed(entry) for entry in entries if wanted.wants(entry)]
        if any(found):
            sys.stdout.buffer.write(b"".join(one + b"\n" for one in found if one is not None))
            sys.stdout.buffer.flush()


def _as_written(entry: "Entry") -> bytes | None:
    """The event, byte by byte; nothing of what is none."""
    return None if entry.fields is None else entry.raw


def _readable(*, no_color: bool) -> "Callable[[Entry], bytes]":
    from chatd.logs.shown import Page  # noqa: PLC0415

    page = Page(colours=sys.stdout.isatty() and not (no_color or os.environ.get("NO_COLOR")))
    return lambda entry: page.line(entry).encode("utf-8", "replace")


def _moment(option: str, given: str | None, now: datetime) -> str | None:
    from chatd.logs.times import moment  # noqa: PLC0415

    try:
        return moment(given, now) if given is not None else None
    except (ValueError, OverflowError):
        raise CycloptsError(
            msg=f'{option}: "{given}" is neither a duration ({DURATIONS}) nor a time (09:00, 2026-01-02).'
        ) from None


def _explain(*, json: bool) -> int:
    """The table of events."""
    from chatd.logs.events import BOUND, table  # noqa: PLC0415

    if json:
        show_json([asdict(event) for event in table().values()])
        return Exit.DONE
    for event in table().values():
        bound = BOUND[event.context] if event.context else ()
        fields = [*bound, *event.fields, *(["exception"] if event.exception else [])]
        print(f"{event.name}  ({', '.join(event.levels)})")
        for words in (event.means, f"Do: {event.do}", f"Fields: {', '.join(fields) or 'none'}."):
            print(fill(words, 78, initial_indent="    ", subsequent_indent="    "))
        print()
    return Exit.DONE
