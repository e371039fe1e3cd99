"""Owners: the tenants that chats belong to, named by their callers."""

import re
from typing import Final, TypeGuard

from chatd.domain.sanitize import replace_unstorable

LOCAL_OWNER: Final = "local"
"""The owner of everything without authentication, which is for loopback only."""

MAX_OWNER_LENGTH: Final = 255
"""Characters of a name."""

OWNER_PATTERN: Final = r"^(?! )[^\x00-\x1f\x7f-\x9f]+(?<! )$"
"""No control characters, and no spaces at either end, which a header loses."""
_OWNER_REGEX = re.compile(OWNER_PATTERN)


def is_valid_owner(name: object) -> TypeGuard[str]:
    """Return whether this can be an owner's name: stored exactly as it is, and sent in a header."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_OWNER_LENGTH
        and _OWNER_REGEX.fullmatch(name) is not None
        and replace_unstorable(name) == name
    )
