"""Following of log files over rotation, truncation and late creation."""

import threading
from collections.abc import Iterator
from pathlib import Path

from chatd.cli.logs.parse import LineSplitter
from chatd.cli.logs.tail import TailedFile


def follow(path: Path) -> Iterator[str]:
    """Yield the lines of a followed file, and "" when there are no more for now."""
    lines = LineSplitter()
    for chunk in TailedFile(path, poll_seconds=0.001).chunks():
        block = lines.flush() if chunk is None else lines.feed(chunk)
        yield from block.decode().splitlines()
        if chunk == b"":
            yield ""


def nexts(lines: Iterator[str], count: int) -> list[str]:
    return [next(each for each in lines if each) for _ in range(count)]


def test_file_is_followed_over_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "chatd.log"
    path.write_text("one\ntwo\nthr")
    lines = follow(path)
    assert nexts(lines, 2) == ["one", "two"]
    assert next(lines) == ""  # a part of a line is not shown
    with path.open("a") as more:
        more.write("ee\n")
    assert nexts(lines, 1) == ["three"]
    path.rename(tmp_path / "chatd.log.1")
    with (tmp_path / "chatd.log.1").open("a") as late:
        late.write("late")  # by a writer that still has the old file open
    assert next(lines) == ""
    path.write_text("new\n")
    assert nexts(lines, 2) == ["late", "new"]
    path.write_text("")
    assert next(lines) == ""
    assert next(lines) == ""
    path.write_text("again\n")
    assert nexts(lines, 1) == ["again"]


def test_following_waits_for_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "chatd.log"
    threading.Timer(0.05, path.write_text, ["here\n"]).start()
    assert nexts(follow(path), 1) == ["here"]
