"""Numbers of the events of a turn, which follow from what is stored.

Each event takes one position, and each character of a text one. So the position of an event depends on the
content of the turn alone, not on how its text was cut into deltas. An answer that becomes void is followed
by another attempt, which begins at the position of its step. The number of an event is its position and
its attempt, and rises.

A subscriber that has the number of its last event resumes right after it, also in the middle of a
text, from any replica and at any time. If an answer became void meanwhile, it resumes where that began.
"""

from collections.abc import Sequence
from typing import Final

_ATTEMPT: Final = 1 << 40
"""Positions of one attempt. No turn has as many characters."""


class TurnSequence:
    """Numbers of the events of one turn, for one subscriber.

    ``voids`` are the answers that became void before: of each, the number of steps that were stored before
    it. ``after`` is the number of the last event that the subscriber has; None stands for none.
    """

    def __init__(self, voids: Sequence[int] = (), *, after: int | None = None) -> None:
        self._voids = list(voids)
        attempt, self._known = (0, -1) if after is None else divmod(after, _ATTEMPT)
        # The journal may have lost what it knew of earlier attempts. Numbers still rise.
        self._offset = max(attempt - len(self._voids), 0)
        self._unseen = set(self._voids[max(attempt - self._offset, 0) :])
        self._position = -1
        self._step, self._step_began = -1, 0  # before the first step

    @property
    def attempt(self) -> int:
        """The attempt of the step under way."""
        return self._offset + sum(void <= self._step for void in self._voids)

    @property
    def position(self) -> int:
        """The position of the last event."""
        return self._position

    def begin_step(self, step: int) -> int | None:
        """Begin a step, or what follows the last one.

        Return a number if the subscriber has an answer in its place that became void: it has to learn that.
        """
        self._step, self._step_began = step, self._position
        if step not in self._unseen:
            return None
        self._unseen.discard(step)
        return self._go_back()

    def void_step(self, step: int) -> int:
        """Go back to where a step began, since its answer is void. Return the number of that news."""
        if step != self._step:
            self._step, self._step_began = step, self._position
        self._voids.append(step)
        self._position = self._step_began
        self._unseen.discard(step)
        self._go_back()
        return self._number()

    def _go_back(self) -> int | None:
        if self._known <= self._step_began:
            return None
        self._known = self._step_began
        return self._number(self._step_began)

    def take(self, *, at: int | None = None) -> int | None:
        """Return the number of the next event, at the next position or a given one. None: it is known."""
        self._position = self._position + 1 if at is None else at
        return None if self._position <= self._known else self._number()

    def take_text(self, text: str) -> tuple[str, int] | None:
        """Return what of a text is not known yet, with the number of its end. None: all of it is known."""
        begin, self._position = self._position, self._position + len(text)
        unknown = text[max(self._known - begin, 0) :]
        return (unknown, self._number()) if unknown else None

    def _number(self, position: int | None = None) -> int:
        return self.attempt * _ATTEMPT + (self._position if position is None else position)
