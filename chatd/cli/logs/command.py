"""``chatd logs``: options, and the pipeline from files to output."""

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

from chatd.cli.exit_codes import Exit
from chatd.cli.formatting import DURATION_EXAMPLES
from chatd.cli.options import Flag
from chatd.cli.output import echo, echo_bytes, echo_rendered, print_json
from chatd.domain.errors import ChatdError

if TYPE_CHECKING:
    from chatd.cli.logs.filter import LogFilter
    from chatd.cli.logs.parse import LogLine

Level = Literal["debug", "info", "warning", "error", "critical"]

app = App(
    name="logs",
    help_epilogue="""Reads files (oldest first, also .gz), or standard input: the output of
'journalctl -o cat' or '-o json', or the log of a container. Lines that are no
events of chatd are printed unchanged, unless --chat, --event or --level is used.
Times are UTC.

Examples:
  chatd logs chatd.log --level warning --since 2h
  chatd logs -f chatd.log --chat 5bd0a6e5
  journalctl -u chatd -o cat -f | chatd logs --event 'chat.*'
  chatd logs chatd.log.1.gz chatd.log --since 09:00 --until 09:30
  chatd logs chatd.log --event chat.turn --json | jq .seconds
  chatd logs --events                      (meaning and action of each event)""",
)


@app.default
def logs(
    *files: Annotated[Path, Parameter(help="Log files, oldest first. Default: standard input.")],
    follow: Annotated[
        bool,
        Parameter(
            name=["--follow", "-f"],
            show_default=False,
            help="Continue with lines that are written later.",
        ),
    ] = False,
    chat: Annotated[
        str | None, Parameter(help="Only this chat: its id, or the start of it.")
    ] = None,
    level: Annotated[Level, Parameter(help="Lowest level.")] = "debug",
    event: Annotated[str | None, Parameter(help="Only this event. May contain *.")] = None,
    since: Annotated[
        str | None,
        Parameter(help=f"{DURATION_EXAMPLES} (ago); 09:00, 2026-01-02, 2026-01-02T09:00."),
    ] = None,
    until: Annotated[str | None, Parameter(help="End of the period, written like --since.")] = None,
    json: Annotated[Flag, Parameter(help="Print the events unchanged, as JSON.")] = False,
    no_color: Annotated[Flag, Parameter(help="No colours. $NO_COLOR does the same.")] = False,
    events: Annotated[Flag, Parameter(help="Explain every event.")] = False,
) -> int:
    """Read the log: follow, filter and format it."""
    if events:
        return _print_event_table(json=json)
    from chatd.cli.logs.filter import LogFilter

    now = datetime.now(UTC)
    log_filter = LogFilter(
        chat=chat,
        event=event,
        level=level,
        since=_parse_time_option("--since", since, now),
        until=_parse_time_option("--until", until, now),
    )
    try:
        for source in _chunk_sources(files, follow=follow):
            _print_matching(
                source,
                log_filter,
                render=_raw_line if json else _text_renderer(no_color=no_color),
                write=echo_bytes if json else echo_rendered,
            )
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise ChatdError(message) from error
    return Exit.DONE


def _chunk_sources(files: tuple[Path, ...], *, follow: bool) -> "Iterator[Iterator[bytes | None]]":
    """Yield the chunks of each file, or of standard input."""
    from chatd.cli.logs.tail import TailedFile, read_chunks, read_file_chunks

    if not files:
        yield read_chunks(sys.stdin.buffer)
    for number, file in enumerate(files, 1):
        yield (
            TailedFile(file).chunks() if follow and number == len(files) else read_file_chunks(file)
        )


def _print_matching(
    source: "Iterator[bytes | None]",
    log_filter: "LogFilter",
    *,
    render: "Callable[[LogLine], bytes | None]",
    write: Callable[[bytes], None],
) -> None:
    """Print the matching lines of a source as soon as they are complete."""
    from chatd.cli.logs.parse import LineSplitter, parse_line

    lines = LineSplitter()
    for chunk in chain(source, [None]):
        block = lines.flush() if chunk is None else lines.feed(chunk)
        parsed = map(parse_line, log_filter.prefilter(block))
        rendered = [render(line) for line in parsed if log_filter.matches(line)]
        if any(rendered):
            write(b"".join(line + b"\n" for line in rendered if line is not None))


def _raw_line(log_line: "LogLine") -> bytes | None:
    """Return the bytes of an event, or None if the line is no event."""
    return None if log_line.fields is None else log_line.raw


def _text_renderer(*, no_color: bool) -> "Callable[[LogLine], bytes]":
    from chatd.cli.logs.render import LogRenderer

    colors = sys.stdout.isatty() and not (no_color or os.environ.get("NO_COLOR"))
    renderer = LogRenderer(colors=colors)
    return lambda log_line: renderer.render(log_line).encode("utf-8", "replace")


def _parse_time_option(option: str, text: str | None, now: datetime) -> str | None:
    from chatd.cli.logs.times import parse_time

    try:
        return parse_time(text, now) if text is not None else None
    except (ValueError, OverflowError):
        raise CycloptsError(
            msg=f'{option}: "{text}" is neither a duration ({DURATION_EXAMPLES}) '
            "nor a time (09:00, 2026-01-02)."
        ) from None


def _print_event_table(*, json: bool) -> int:
    """Print all events with their meaning, action and fields."""
    from chatd.logs.events import CONTEXT_FIELDS, log_events

    if json:
        print_json([asdict(event) for event in log_events().values()])
        return Exit.DONE
    for event in log_events().values():
        bound = CONTEXT_FIELDS[event.context] if event.context else ()
        fields = [*bound, *event.fields, *(["exception"] if event.exception else [])]
        echo(f"{event.name}  ({', '.join(event.levels)})")
        for text in (
            event.description,
            f"Action: {event.action}",
            f"Fields: {', '.join(fields) or 'none'}.",
        ):
            echo(fill(text, 78, initial_indent="    ", subsequent_indent="    "))
        echo()
    return Exit.DONE
