"""Progress of a call: how often parts are published, how large they are, and what is kept."""

import asyncio
from typing import Any

import pytest
from support.eventually import eventually

from chatd.domain.message import Part, fold
from chatd.domain.tool_call_errors import MAX_OUTPUT_SO_FAR
from chatd.tools.tool import ToolProgress
from chatd.worker.tool_progress import MIN_INTERVAL_SECONDS, CallProgress


class Published:
    """Progress of one call, and the parts that it published."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.progress = CallProgress("c1", 2, self.parts.append)

    def due_in(self) -> float:
        """Return the seconds until a part is published."""
        timer = self.progress._timer
        assert timer is not None
        return timer.when() - asyncio.get_running_loop().time()


async def test_many_reports_are_one_part() -> None:
    published = Published()
    for number in range(1, 1001):
        published.progress.report(ToolProgress(progress=number, total=1000, message=f"n {number}"))
    assert published.parts == []
    assert published.due_in() <= MIN_INTERVAL_SECONDS
    await eventually(lambda: published.parts)
    base = {"index": 2, "type": "tool-progress", "tool_call_id": "c1"}
    assert published.parts == [{**base, "progress": 1000, "total": 1000, "message": "n 1000"}]
    published.progress.report(ToolProgress(message="again"))
    assert published.due_in() > MIN_INTERVAL_SECONDS / 2, "four parts a second"
    published.progress.end()
    await asyncio.sleep(0)
    published.progress.report(ToolProgress(message="late"))
    assert len(published.parts) == 1


async def test_call_that_has_run_for_long_publishes_more_rarely() -> None:
    published = Published()
    published.progress._started_at -= 2000.0
    published.progress.report(ToolProgress(message="x"))
    assert 9.0 < published.due_in() < 11.0
    published.progress.end()


async def test_text_is_published_once_and_its_end_kept() -> None:
    published = Published()
    published.progress.report(ToolProgress(text="one "))
    published.progress.report(ToolProgress(text="two "))
    await eventually(lambda: len(published.parts) == 1)
    published.progress.report(ToolProgress(text="x" * 100_000 + "\0\ud800 three"))
    await eventually(lambda: len(published.parts) == 2)
    first, second = (part["text"] for part in published.parts)
    assert first == "one two "
    assert (len(second), second[0], second[-8:]) == (1024, "…", "\ufffd\ufffd three")
    assert len(published.progress.output) == MAX_OUTPUT_SO_FAR
    (part,) = fold(published.parts)
    assert part["text"] == first + second, "parts fold as those of a model do"
    published.progress.end()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_number_that_cannot_be_stored_is_left_out(number: float) -> None:
    published = Published()
    published.progress.report(ToolProgress(progress=number, total=number, message="m"))
    await eventually(lambda: published.parts)
    part: dict[str, Any] = {**published.parts[0]}
    assert "progress" not in part
    assert "total" not in part
    assert part["message"] == "m"
