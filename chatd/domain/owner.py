"""Whose a chat is: the name of a tenant, as callers come with it."""

from typing import Final, TypeGuard

from chatd.domain.failure import storable

LOCAL: Final = "local"
"""Whose everything is without authentication, which is for loopback only."""

LONGEST: Final = 255
"""Characters of a name."""


def is_owner(name: object) -> TypeGuard[str]:
    """Whether this can be an owner's name, stored exactly as it is."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST and storable(name) == name
