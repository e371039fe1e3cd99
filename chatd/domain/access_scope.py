"""Scopes: what a credential permits, each an extent of its own.

No scope includes another. A credential that permits several things has several scopes, and one that was
given for a single purpose, such as reading metrics, can do nothing else.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class AccessScope(StrEnum):
    """One thing that a credential permits. The names are stored and sent, so they do not change."""

    CHATS = "chats"
    """Use the chats of one's own owner."""
    ACT_FOR = "act-for"
    """Name another owner in ``X-Chatd-Owner`` and be that owner, with the scope ``chats`` and no other."""
    READ_ALL = "read-all"
    """Read any chat by its id, with everything in it. Change none of them."""
    OPERATE = "operate"
    """Read the status of processes, and why any chat is in its state. Interrupt, retry and archive any
    chat, and drain workers."""
    METRICS = "metrics"
    """Read the metrics of processes."""


OWN_CHATS: Final = frozenset({AccessScope.CHATS})
"""The scopes of a credential that nobody gave any other."""


def known_scopes(names: Iterable[object]) -> frozenset[AccessScope]:
    """Return the scopes with these names. Other names permit nothing: a newer version may know them."""
    return frozenset(scope for scope in AccessScope if scope.value in {*names})
