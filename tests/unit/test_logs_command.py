"""``chatd logs``: selection, parsing of any bytes, following of files, and readable output."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.child_process import child_process

from chatd.cli.exit_codes import Exit
from chatd.cli.logs.filter import LEVELS, LogFilter
from chatd.cli.logs.parse import LineSplitter, parse_line
from chatd.cli.logs.render import LogRenderer
from chatd.cli.logs.times import parse_time
from chatd.cli.main import main
from chatd.logs.events import log_events

A, B = "5bd0a6e5-0000-4000-8000-000000000001", "77777777-0000-4000-8000-000000000002"
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def line(event: str, minute: int = 0, level: str = "info", **fields: Any) -> str:
    timestamp = f"2026-01-02T10:{minute:02}:00.000Z"
    return json.dumps({"timestamp": timestamp, "level": level, "event": event, **fields})


LOG = [
    line("daemon.starting", 0, version="1"),
    line("chat.turn", 1, chat_id=A, epoch=1, outcome="finished"),
    "Traceback (most recent call last):",
    line("chat.failed", 2, "warning", chat_id=B, epoch=2, reason="no \x1b[31m luck"),
    line("http.request", 3, "debug", chat_id=A, status=200),
    line("chat.panicked", 4, "error", chat_id=A, exception={"traceback": "Traceback:\n  File x\nE: y\n"}),
    "\x00\xff {not json",
]  # fmt: skip

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def log(tmp_path: Path) -> str:
    file = tmp_path / "chatd.log"
    file.write_text("\n".join(LOG) + "\n", encoding="utf-8")
    return str(file)


def printed(arguments: Sequence[str], capsys: Captured) -> list[str]:
    assert main(["logs", *arguments]) == Exit.DONE
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6]),
        (["--chat", A], [1, 4, 5]),
        (["--chat", "5BD0A6E5"], [1, 4, 5]),
        (["--chat", "777"], [3]),
        (["--level", "info"], [0, 1, 3, 5]),
        (["--level", "warning"], [3, 5]),
        (["--event", "chat.*"], [1, 3, 5]),
        (["--event", "*turn"], [1]),
        (["--event", "chat"], []),
        (["--since", "2026-01-02T10:02"], [3, 4, 5, 6]),
        (["--until", "2026-01-02T10:02"], [0, 1, 2, 3]),
        (["--since", "2026-01-02T10:01", "--until", "2026-01-02T10:01"], [1, 2]),
        (["--chat", A, "--event", "chat.*", "--level", "error"], [5]),
    ],
    ids=str,
)
def test_options_select_lines(
    log: str, arguments: list[str], numbers: list[int], capsys: Captured
) -> None:
    expected = [n for n in numbers if LOG[n].startswith('{"')]
    assert printed([log, "--json", *arguments], capsys) == [LOG[n] for n in expected]
    renderer = LogRenderer(colors=False)
    expected_lines = [
        each for n in numbers for each in renderer.render(parse_line(LOG[n].encode())).split("\n")
    ]
    assert printed([log, *arguments], capsys) == expected_lines


def test_output_is_readable_lines(log: str, capsys: Captured) -> None:
    out = printed([log], capsys)
    assert out[1] == (
        "2026-01-02 10:01:00.000Z info     chat.turn chat_id=5bd0a6e5 epoch=1 outcome=finished"
    )
    assert out[2] == "Traceback (most recent call last):"
    assert out[3].endswith('reason="no \\u001b[31m luck"')
    assert out[6:9] == ["    Traceback:", "      File x", "    E: y"]
    assert "\x1b" not in "".join(out)


def test_fields_of_a_wrong_type_are_rendered() -> None:
    odd = json.dumps(
        {"event": "a", "level": "info", "timestamp": [1], "chat_id": 5, "worker_id": {}, "exception": "x",
         "frames": [1, "a\nb"]}
    )  # fmt: skip
    entry = parse_line(odd.encode())
    LogFilter(chat="5", since="2026").matches(entry)
    assert LogRenderer(colors=True).render(entry).endswith("    1\n    a\n    b\n    x")


@pytest.mark.parametrize("level", [7, [1], {}, None, "INFO", "trace"])
def test_event_of_another_program_is_a_plain_line(level: object) -> None:
    foreign = json.dumps({"event": "x", "level": level, "timestamp": "2026-01-02"})
    entry = parse_line(foreign.encode())
    assert LogFilter().matches(entry)
    assert LogRenderer(colors=False).render(entry) == foreign
    assert not LogFilter(level="info").matches(entry)


@pytest.mark.parametrize("odd", ["9999999999d", "0001-01-01T00:00:00+10:00", "soon", 7])
def test_event_with_an_invalid_time_has_that_of_the_previous_one(odd: object) -> None:
    for since, expected in (
        ("2026-01-02T09:00:00.000Z", True),
        ("2026-01-02T11:00:00.000Z", False),
    ):
        log_filter = LogFilter(since=since)
        log_filter.matches(parse_line(line("a").encode()))
        late = json.dumps({"timestamp": odd, "level": "info", "event": "b"})
        assert log_filter.matches(parse_line(late.encode())) is expected


def test_colours_on_a_terminal_unless_disabled(
    log: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = "".join(printed([log], capsys))
    assert "\x1b[" in out
    assert "\x1b[31m luck" not in out
    assert "\x1b" not in "".join(printed([log, "--no-color"], capsys))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(printed([log], capsys))


def journal(message: Any, **more: Any) -> str:
    return json.dumps({"MESSAGE": message, "__REALTIME_TIMESTAMP": "1767348000000000"} | more)


@pytest.mark.parametrize(
    "text",
    [
        LOG[1],
        f"<6>{LOG[1]}",
        f"{LOG[1]}\r",
        f"Jan 02 10:01:00 host chatd[7]: {LOG[1]}",
        f"chatd-1  | {LOG[1]}",
        journal(LOG[1]),
        journal(f"<4>{LOG[1]}", PRIORITY="4"),
        journal(list(LOG[1].encode())),
    ],
)
def test_events_are_parsed_from_the_output_of_collectors(text: str) -> None:
    entry = parse_line(text.encode())
    assert entry.fields is not None
    assert entry.fields["event"] == "chat.turn"
    assert entry.raw == LOG[1].encode()
    log_filter = LogFilter(
        chat=A[:8], event="chat.*", level="info", since="2026-01-02T10:00:00.000Z"
    )
    assert [
        log_filter.matches(parse_line(each)) for each in log_filter.prefilter(text.encode() + b"\n")
    ] == [True]


def test_journal_message_keeps_its_time_and_level() -> None:
    entry = parse_line(journal("it broke", PRIORITY="3", SYSLOG_IDENTIFIER="systemd").encode())
    assert LogRenderer(colors=False).render(entry) == (
        '2026-01-02 10:00:00.000Z error    systemd message="it broke"'
    )


@given(st.lists(st.one_of(st.binary(), st.sampled_from(LOG).map(str.encode)), max_size=8),
       st.lists(st.integers(1, 40), min_size=1, max_size=30))  # fmt: skip
def test_any_bytes_are_accepted(pieces: list[bytes], cuts: list[int]) -> None:
    data, lines, output, place = b"\n".join(pieces), LineSplitter(), b"", 0
    for cut in cuts:
        output += lines.feed(data[place : place + cut])
        place += cut
    output += lines.feed(data[place:]) + lines.flush()
    assert output.removesuffix(b"\n") == data.removesuffix(b"\n")
    renderer = LogRenderer(colors=True)
    for log_filter in (
        LogFilter(),
        LogFilter(chat="5", event="c*", level="warning"),
        LogFilter(since="2"),
    ):
        for each in log_filter.prefilter(output):
            entry = parse_line(each)
            log_filter.matches(entry)
            assert "\x00" not in renderer.render(entry)


@given(st.lists(st.sampled_from(LOG), max_size=30),
       st.sampled_from([None, A, B, "5", "f"]), st.sampled_from([None, "chat.*", "*", "http.request"]),
       st.sampled_from(LEVELS))  # fmt: skip
def test_prefilter_keeps_every_matching_line(
    lines: list[str], chat: str | None, event: str | None, level: str
) -> None:
    block = "".join(f"{each}\n" for each in lines).encode()
    slow, quick = (LogFilter(chat=chat, event=event, level=level) for _ in range(2))
    every = list(filter(slow.matches, map(parse_line, block.split(b"\n")[:-1])))
    assert list(filter(quick.matches, map(parse_line, quick.prefilter(block)))) == every


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", "2026-01-02T11:45:00.000Z"),
        ("1h30m", "2026-01-02T10:30:00.000Z"),
        ("2d", "2025-12-31T12:00:00.000Z"),
        ("0.5s", "2026-01-02T11:59:59.500Z"),
        ("09:30", "2026-01-02T09:30:00.000Z"),
        ("2026-01-01", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01 10:00:01.5", "2026-01-01T10:00:01.500Z"),
        ("2026-01-01T10:00:00+02:00", "2026-01-01T08:00:00.000Z"),
    ],
)
def test_parse_time(text: str, expected: str) -> None:
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "5", "5 m", "25:00", "2026-13-01", "9" * 400 + "d"])
def test_invalid_time_is_a_usage_error(log: str, text: str, capsys: Captured) -> None:
    assert main(["logs", log, "--since", text]) == Exit.USAGE
    err = capsys.readouterr().err
    assert f'--since: "{text}" is neither a duration (15m, 1h30m, 90d) nor a time' in err


def test_rotated_files_are_read_in_order(tmp_path: Path, capsys: Captured) -> None:
    old, new = tmp_path / "chatd.log.1.gz", tmp_path / "chatd.log"
    old.write_bytes(gzip.compress(LOG[0].encode()))  # its last line has no end
    new.write_text(LOG[1])
    assert printed(["--json", str(old), str(new)], capsys) == LOG[:2]


@pytest.mark.parametrize("damage", ["cut", "spoilt"])
def test_damaged_compressed_file_is_named(tmp_path: Path, damage: str, capsys: Captured) -> None:
    whole = gzip.compress(LOG[0].encode() * 100)
    broken = whole[:-12] if damage == "cut" else whole[:20] + b"?" * 20 + whole[40:]
    (tmp_path / "chatd.log.1.gz").write_bytes(broken)
    assert main(["logs", str(tmp_path / "chatd.log.1.gz")]) == Exit.FAILED
    assert "chatd.log.1.gz: " in capsys.readouterr().err


def test_missing_file_is_named(tmp_path: Path, capsys: Captured) -> None:
    assert main(["logs", str(tmp_path / "none.log")]) == Exit.FAILED
    assert "none.log: No such file" in capsys.readouterr().err


def test_standard_input_is_printed_at_once_until_the_pipe_closes() -> None:
    command = [sys.executable, "-m", "chatd", "logs", "--json", "--event", "chat.turn"]
    with child_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(2):
            process.stdin.write(f"{LOG[0]}\n{LOG[1]}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode() == f"{LOG[1]}\n"
        process.stdout.close()
        with suppress(BrokenPipeError):
            while True:
                os.write(process.stdin.fileno(), f"{LOG[1]}\n".encode() * 1000)
        assert process.stderr.read() == b""


def test_following_ends_with_ctrl_c(log: str) -> None:
    command = [sys.executable, "-m", "chatd", "logs", "--follow", "--level", "error", log]
    with child_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"chat.panicked" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == Exit.INTERRUPTED
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_events_option_explains_every_event(capsys: Captured) -> None:
    out = "\n".join(printed(["--events"], capsys))
    document = json.loads("\n".join(printed(["--events", "--json"], capsys)))
    assert [event["name"] for event in document] == list(log_events())
    for name, event in log_events().items():
        assert f"{name}  ({', '.join(event.levels)})" in out
    assert max(map(len, out.splitlines())) <= 80
