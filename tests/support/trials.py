"""How often random tests try: a few times in every run, more often by hand.

Most of them draw a new seed in each run, so that runs add up. ``CHATD_TEST_TRIALS=10`` makes ten times as
many trials in one run.
"""

import os

_FACTOR = float(os.environ.get("CHATD_TEST_TRIALS", "1"))


def trials(count: int) -> int:
    """Return the number of trials of a random test: ``count``, or the multiple that is asked for."""
    return max(1, round(count * _FACTOR))
