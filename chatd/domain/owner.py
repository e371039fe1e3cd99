"""Whose a chat is: the name of a tenant, as callers come with it."""

import re
from typing import Final, TypeGuard

from chatd.domain.failure import storable

LOCAL: Final = "local"
"""Whose everything is without authentication, which is for loopback only."""

LONGEST: Final = 255
"""Characters of a name."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def is_owner(name: object) -> TypeGuard[str]:
    """Whether this can be an owner's name: stored exactly as it is, and named by a header."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= LONGEST
        and name == name.strip()
        and not _CONTROLS.search(name)
        and storable(name) == name
    )
