"""Sequence numbers of a turn's items, which follow from the stored content: nothing is stored for them.

A *position* counts structural items as 1 and each character of text and arguments as 1, from the begin of
the turn. It does not depend on how the text was cut into deltas. The number of an item is the position
after it, and ``2**40`` times the number of voids before it. So numbers rise, with gaps.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from chatd.adapters.turn_items import TurnItem

ATTEMPT: Final = 2**40
"""Number that each void adds. Positions are below it: a turn has less text than that."""


def numbered(
    items: Iterable[TurnItem], *, voids: Sequence[int] = ()
) -> Iterator[tuple[int, TurnItem]]:
    """Yield items with their numbers. ``voids`` are the positions that earlier attempts went back to."""
    raise NotImplementedError


def after(number: int, items: Iterable[TurnItem]) -> Iterator[tuple[int, TurnItem]]:
    """Yield what follows on ``number``, cutting a delta in two if that is in its middle."""
    raise NotImplementedError
