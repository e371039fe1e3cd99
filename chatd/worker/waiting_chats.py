"""Chats that wait for a slot, as far as a worker knows without asking the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf


class WaitingChats:
    """An upper bound of the chats that wait: those that hints announced since a claim left none.

    The bound is infinite while the worker does not know: before its first claim, after hints were lost,
    after a claim that failed or left chats, and after a time without a free slot.
    """

    def __init__(self) -> None:
        self._announced: float = inf
        """Chats that may wait, and that no claim is looking for yet."""
        self._in_claim: float = 0
        """Chats that the claim under way may find."""

    @property
    def at_most(self) -> float:
        """Number of chats that may wait now."""
        return self._announced + self._in_claim

    @property
    def expected(self) -> bool:
        """True if there is a reason to claim, other than that a poll is due."""
        return self._announced > 0

    def announce(self) -> None:
        """Count a chat that a hint announced."""
        self._announced += 1

    def forget(self) -> None:
        """Know nothing until the end of a claim that is sent from now on."""
        self._announced = inf

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Count the announced chats until the end of the claim in the body. If it fails, know nothing."""
        self._in_claim, self._announced = self._announced, 0
        try:
            yield
        except BaseException:
            self.forget()
            raise
        finally:
            self._in_claim = 0
