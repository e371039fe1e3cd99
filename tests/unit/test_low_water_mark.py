"""Low-water mark: where in the line a claim begins to read. Times are those of its own constants."""

from datetime import UTC, datetime

from chatd.store.claims import WHOLE_LINE, ClaimBatch
from chatd.worker.low_water_mark import LowWaterMark

OLDEST = datetime(2026, 1, 1, tzinfo=UTC)
START = 100.0


def begun() -> LowWaterMark:
    """Return a mark that has read the whole line at ``START``."""
    mark = LowWaterMark()
    assert mark.bounds(START) == WHOLE_LINE
    return mark


def observe(mark: LowWaterMark, *, at: float, reached: int = 0, oldest_first: bool = False) -> None:
    batch = ClaimBatch(
        claims=(),
        candidates_left=False,
        claimed_round=reached,
        oldest_pending=OLDEST,
        next_due_in_seconds=None,
    )
    mark.observe(batch, oldest_first=oldest_first, now=START + at)


def rounds(mark: LowWaterMark, *times: float) -> list[int]:
    return [mark.bounds(START + at).round for at in times]


def test_round_is_a_bound_once_no_statement_of_its_time_is_under_way() -> None:
    mark = begun()
    observe(mark, at=0, reached=7)
    assert rounds(mark, 0, 1.9, 2.0, 9.0) == [0, 0, 7, 7]


def test_newest_settled_round_is_the_bound() -> None:
    mark = begun()
    for at, reached in ((0, 7), (1, 8), (2, 9), (3, 10)):
        observe(mark, at=at, reached=reached)
    assert rounds(mark, 3.9, 4.0, 9.0) == [8, 9, 10]


def test_rounds_are_sampled_twice_a_second() -> None:
    mark = begun()
    for at, reached in ((0, 7), (0.4, 8), (0.5, 9)):
        observe(mark, at=at, reached=reached)
    assert rounds(mark, 2.4, 2.5) == [7, 9]
    for each in range(1000):
        observe(mark, at=3 + each / 1000, reached=each)
    assert len(mark._samples) == 2


def test_oldest_pending_chat_bounds_only_what_claims_of_the_oldest_have_seen() -> None:
    mark = begun()
    observe(mark, at=1)
    assert mark.bounds(START + 1).pending_since == WHOLE_LINE.pending_since
    observe(mark, at=2, oldest_first=True)
    assert mark.bounds(START + 2).pending_since == OLDEST


def test_whole_line_is_read_every_fifteen_seconds() -> None:
    mark = begun()
    observe(mark, at=0, reached=7, oldest_first=True)
    for at, whole in ((14.9, False), (15.0, True), (15.1, False), (29.9, False), (30.0, True)):
        assert (mark.bounds(START + at) == WHOLE_LINE) == whole, at
