"""Whose a chat is: the name of a tenant, as callers come with it."""

import re
from typing import Final, TypeGuard

from chatd.domain.sanitize import replace_unstorable

LOCAL_OWNER: Final = "local"
"""Whose everything is without authentication, which is for loopback only."""

MAX_OWNER_LENGTH: Final = 255
"""Characters of a name."""

OWNER_PATTERN: Final = r"^(?! )[^\x00-\x1f\x7f-\x9f]+(?<! )$"
"""No control characters, and no spaces around it, which a header loses."""
_OWNER_REGEX = re.compile(OWNER_PATTERN)


def is_valid_owner(name: object) -> TypeGuard[str]:
    """Whether this can be an owner's name: stored exactly as it is, and named by a header."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_OWNER_LENGTH
        and _OWNER_REGEX.fullmatch(name) is not None
        and replace_unstorable(name) == name
    )
