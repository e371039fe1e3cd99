"""Events about tools as ``chatd tail`` prints them, one line each."""

from typing import Any

import pytest

from chatd.cli.tail import _event_line
from chatd.cli.tool_calls import rest_lines
from chatd.client import (
    ActionAnswered,
    ActionRequired,
    MessagePart,
    NoticesGiven,
    ToolCallsChanged,
)

ASKED = [{"tool_name": "pay", "kind": "approval"}, {"tool_name": "weather", "kind": "result"}]
CASES: list[tuple[type[Any], Any, str]] = [
    (
        ActionRequired,
        {"calls": ASKED, "deadline": "2026-12-01T14:03:00Z"},
        "pay (approval), weather (result), until 2026-12-01T14:03:00",
    ),
    (
        ActionAnswered,
        {"answered": [{"tool_name": "pay", "decision": "deny"}], "open": ["c2"], "deadline": ""},
        "pay deny; 1 open",
    ),
    (
        ToolCallsChanged,
        {
            "closed": [
                {"tool_call_id": "c1", "tool_name": "pay", "is_error": True},
                {"tool_call_id": "c2", "tool_name": "look", "is_error": False},
            ],
            "started": ["c3"],
        },
        "pay failed, look ended, c3 started",
    ),
    (NoticesGiven, {"notices": [{"server": "time", "message": "no answer"}]}, "time: no answer"),
    (
        MessagePart,
        {"type": "tool-call", "index": 0, "tool_call_id": "c", "tool_name": "pay", "args": "{"},
        'calls pay "{"',
    ),
    (MessagePart, {"type": "tool-call", "index": 0, "args": '"a"'}, '"\\"a\\""'),
    (
        MessagePart,
        {"type": "tool-progress", "index": 0, "tool_call_id": "c1", "progress": 3},
        'progress of c1: {"progress": 3}',
    ),
]


@pytest.mark.parametrize(("event", "data", "text"), CASES)
def test_events_of_tools_are_a_few_words(event: type[Any], data: Any, text: str) -> None:
    line = _event_line(event(data, "5.1.0"))
    assert line.startswith("5.1.0")
    assert line.endswith(f"{event.event:<15} {text}")


def test_images_and_cut_results_are_named() -> None:
    file = {"name": None, "media_type": "image/png", "size": 5}
    part: Any = {"type": "tool-result", "result": "x", "files": [file], "output_bytes": 70}
    assert rest_lines(part) == [
        "[an image, image/png, 5 bytes]",
        "[cut from 70 bytes; the model may read more with read_tool_result]",
    ]
    native: Any = {"type": "native-tool-result", "result": "x"}
    assert rest_lines(native) == []
