"""Low-water mark: where in the line of pending chats a claim begins to read.

PostgreSQL keeps the index entries of claimed chats for as long as any snapshot may still see those as
pending, which is hours for a dump of the database. A claim that read the line from its begin would pass by
all of them.
"""

from collections import deque

from chatd.store.claims import WHOLE_LINE, ClaimBatch, LineBounds

_SETTLING_SECONDS = 2.0
"""Age from which a round is a bound. A statement that was under way then may still add a lower round."""
_SAMPLE_SECONDS = 0.5
"""Time between two samples."""
_WHOLE_LINE_SECONDS = 15.0
"""Time after which the whole line is read again, for chats of statements that took longer to commit."""


class LowWaterMark:
    """Samples of the rounds that the line had reached. ``now`` is a monotonic time in seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._settled_round = 0
        self._oldest_pending = WHOLE_LINE.pending_since
        self._read_whole_at: float | None = None

    def bounds(self, now: float) -> LineBounds:
        """Return the bounds of the next claim."""
        if self._read_whole_at is None or now - self._read_whole_at >= _WHOLE_LINE_SECONDS:
            self._read_whole_at = now
            return WHOLE_LINE
        while self._samples and now - self._samples[0][0] >= _SETTLING_SECONDS:
            self._settled_round = self._samples.popleft()[1]
        return LineBounds(round=self._settled_round, pending_since=self._oldest_pending)

    def observe(self, batch: ClaimBatch, *, oldest_first: bool, now: float) -> None:
        """Record what a claim that was sent at ``now`` has seen."""
        if oldest_first:
            self._oldest_pending = batch.oldest_pending
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, batch.claimed_round))
