"""Words that rows hold, some of which only a newer version knows.

During an upgrade, old processes read rows of new ones. A word that they do not know must not stop them: it
passes through as text, and no table has a row for it.
"""

from enum import StrEnum
from typing import Self


class StoredWord(StrEnum):
    """A word of a column: a status, a transition, a role. ``read`` takes one from the database."""

    @classmethod
    def read(cls, word: str) -> Self:
        """Return the member for a stored word, or one outside the enumeration if there is none."""
        known = cls._value2member_map_.get(word)
        if isinstance(known, cls):
            return known
        unknown = str.__new__(cls, word)
        unknown._name_ = unknown._value_ = word
        return unknown

    @property
    def is_known(self) -> bool:
        """False for a word that this version does not know."""
        return self._value_ in type(self)._value2member_map_
