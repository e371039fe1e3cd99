"""Whose a chat is: the name of a tenant, as callers come with it."""

import re
from typing import Final, TypeGuard

from chatd.domain.failure import storable

LOCAL: Final = "local"
"""Whose everything is without authentication, which is for loopback only."""

LONGEST: Final = 255
"""Characters of a name."""

NAME: Final = r"^(?! )[^\x00-\x1f\x7f-\x9f]+(?<! )$"
"""No control characters, and no spaces around it, which a header loses."""
_NAME = re.compile(NAME)


def is_owner(name: object) -> TypeGuard[str]:
    """Whether this can be an owner's name: stored exactly as it is, and named by a header."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= LONGEST
        and _NAME.fullmatch(name) is not None
        and storable(name) == name
    )
