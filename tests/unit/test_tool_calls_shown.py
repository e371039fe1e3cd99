"""Tool calls as the command line shows them: running, answered, failed, and of unknown outcome."""

import json
import re
from typing import Any

import pytest
from rich.console import Group

from chatd.cli.chat.call_lines import result_lines
from chatd.cli.chat.transcript_renderer import TranscriptRenderer, to_ansi
from chatd.cli.tool_calls import args_lines, args_text, result_text, running_text, shorten
from chatd.client import (
    ActionRequired,
    MessagePart,
    MessageStored,
    RunningCall,
    Snapshot,
    StatusChanged,
    ToolCallsChanged,
    Transcript,
)
from chatd.domain.tool_call_errors import OUTCOME_UNKNOWN, TURN_FAILED

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def call(number: int, name: str, args: str = "{}") -> Any:
    return {"type": "tool-call", "tool_call_id": f"c{number}", "tool_name": name, "args": args}


def result(number: int, name: str, value: object, **more: Any) -> Any:
    return {
        "type": "tool-result",
        "tool_call_id": f"c{number}",
        "tool_name": name,
        "result": value,
    } | more


def message(number: int, role: str, *content: Any) -> Any:
    return {"id": number, "role": role, "content": [*content]}


ASKS = message(
    1,
    "assistant",
    {"type": "text", "text": "Let me look."},
    call(1, "clock", '{"timezone": "Asia/Tokyo", "format": {"24h": true}}'),
    call(2, "pay", '{"note": "two\\nlines"}'),
    call(3, "look"),
)
ANSWERS = message(
    2,
    "tool",
    result(1, "clock", "2026-11-30T20:04:11+09:00\nMonday"),
    result(2, "pay", OUTCOME_UNKNOWN, is_error=True),
    result(3, "look", "The endpoint answered 404: no\x1b[31m", is_error=True),
)
SHOWN = [
    '* clock  timezone: Asia/Tokyo, format: {"24h": true}',
    "  2026-11-30T20:04:11+09:00 Monday",
    "* pay  note: two lines",
    "  outcome unknown: The server stopped while this ran. It may or may not have",
    "* look",
    "  failed: The endpoint answered 404: no\\x1b[31m",
]


class Screen:
    """The permanent output of a chat, and the preview below it."""

    def __init__(self, *messages: Any) -> None:
        self.transcript = Transcript()
        self.renderer = TranscriptRenderer(self.transcript)
        self.output = ""
        chat: Any = {"id": "c", "status": "running", "last_error": None, "queue_length": 0}
        self.apply(Snapshot({"chat": chat, "messages": [*messages], "queue": [], "parts": []}))

    def apply(self, event: Any) -> None:
        self.transcript.apply(event)
        self.output += COLOURS.sub("", to_ansi(self.renderer.render_event(event), 80))

    def progress(self, **fields: Any) -> None:
        base = {"type": "tool-progress", "index": 0, "tool_call_id": "c1"}
        self.apply(MessagePart({**base, **fields}))  # type: ignore[arg-type]

    @property
    def preview(self) -> list[str]:
        shown = self.renderer.render_preview()
        return [] if shown is None else lines(COLOURS.sub("", to_ansi([shown], 80)))


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_calls_are_shown_while_they_run_and_kept_with_their_results() -> None:
    screen = Screen()
    screen.apply(MessageStored(ASKS))
    assert lines(screen.output) == ["Let me look."]
    calls = SHOWN[::2]
    assert screen.preview[::2] == calls
    assert screen.preview[1::2] == ["  running"] * 3
    screen.progress(progress=3, total=10, message="Reading page 3")
    assert screen.preview[1] == "  running  3/10 Reading page 3"
    screen.progress(progress=4, text="some output\nits last li")
    screen.progress(text="ne\n", message="")
    assert screen.preview[1] == "  running  4/10 its last line"
    ended = [{"tool_call_id": "c3", "tool_name": "look", "is_error": True}]
    screen.apply(ToolCallsChanged({"closed": ended, "started": []}))  # type: ignore[typeddict-item]
    assert [line.strip() for line in screen.preview[1::2]][1:] == ["running", "failed"]
    assert lines(screen.output) == ["Let me look."]
    screen.apply(MessageStored(ANSWERS))
    shown = lines(screen.output)[1:]
    assert [line.startswith(begin) for line, begin in zip(shown, SHOWN, strict=True)] == [True] * 6
    assert all(len(line) <= 80 for line in shown)
    assert screen.preview == []


def test_replayed_calls_look_as_they_did() -> None:
    live = Screen()
    live.apply(MessageStored(ASKS))
    live.apply(MessageStored(ANSWERS))
    assert Screen(ASKS, ANSWERS).output == live.output
    late = Screen(ASKS)
    assert late.preview == [line for call in SHOWN[::2] for line in (call, "  running")]


def test_calls_of_the_provider_follow_the_answer_that_has_them() -> None:
    base = {"tool_call_id": "n1", "tool_name": "web_search"}
    parts = (
        {"type": "text", "text": "I look. "},
        {**base, "type": "native-tool-call", "args": '{"query": "Graz"}'},
        {**base, "type": "native-tool-result", "result": "…", "is_error": True},
        {"type": "text", "text": "It is sunny."},
    )
    screen = Screen(message(1, "assistant", *parts))
    assert lines(screen.output) == ["I look. It is sunny.", "* web_search  query: Graz"]
    assert screen.preview == []


def test_calls_that_a_client_runs_wait_for_it() -> None:
    screen = Screen(ASKS)
    asked: list[Any] = [
        {"tool_call_id": "c2", "tool_name": "pay", "kind": "result"},
        {"tool_call_id": "c3", "tool_name": "look", "kind": "approval"},
    ]
    screen.apply(ActionRequired({"calls": asked, "deadline": "2026"}))
    assert "[waiting for another client to run pay]" in screen.output
    screen.apply(StatusChanged({"status": "requires_action", "epoch": 1}))
    assert screen.preview[3] == "  waits for a client that runs it"
    assert "* look" not in screen.preview, "a person is asked about it in the question"


def test_only_some_of_many_running_calls_are_shown() -> None:
    screen = Screen(message(1, "assistant", *(call(number, "look") for number in range(12))))
    assert screen.preview[-1] == "... and 4 more"
    assert len(screen.preview) == 17


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ("", ""),
        ("{}", ""),
        ('{"a": 1, "b": [true, null]}', "a: 1, b: [true, null]"),
        ('{"cut', '{"cut'),
        ("[1]", "[1]"),
        ("[" * 10**5, "[" * 297 + "..."),
        ('{"a": "' + "x" * 1000 + '"}', "a: " + "x" * 294 + "..."),
    ],
)
def test_arguments_are_one_short_line(args: str, shown: str) -> None:
    assert args_text(args) == shown


def test_results_are_one_short_line_of_any_json() -> None:
    assert result_text({"a": "ü"}, is_error=False) == '{"a": "ü"}'
    assert result_text(None, is_error=False) == "null"
    assert result_text("", is_error=False) == "nothing"
    assert result_text(TURN_FAILED["other"], is_error=True).startswith("outcome unknown: The turn")
    assert shorten("a \n b" + " " * 10**6) == "a b..."
    running = RunningCall(id="c", name="look", args="{}", progress=0.5)
    assert running_text(running) == "running  0.5"


def test_results_without_their_calls_have_their_names() -> None:
    [*shown] = result_lines(ANSWERS["content"], {})
    assert lines(COLOURS.sub("", to_ansi([Group(*shown)], 40)))[0] == "* clock"


def test_person_who_decides_sees_all_arguments_or_that_some_are_cut() -> None:
    assert args_lines('{"note": "two\\nlines", "n": [1]}') == ["note: two\nlines", "n: [1]"]
    assert args_lines("") == []
    assert args_lines('{"cut') == ['{"cut']
    long = args_lines(json.dumps({"a": "x" * 1000, "b": 1}))
    assert long == ["a: " + "x" * 477, "b: 1", "(523 more characters; 'chatd show' has all)"]
    many = args_lines(json.dumps({f"n{number:02}": 1 for number in range(20)}))
    assert many[-1] == "(48 more characters; 'chatd show' has all)"
