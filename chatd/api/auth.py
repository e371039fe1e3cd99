"""Who is calling. Without authentication, which is for loopback only, everybody is ``local``."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling. What is created belongs to ``owner_id``."""

    owner_id: str
    admin: bool = False

    @property
    def sees(self) -> str | None:
        """Whose chats can be named by their ids; None: anybody's."""
        return None if self.admin else self.owner_id


async def caller() -> Identity:
    """Who this request acts for."""
    return Identity(LOCAL)


Caller = Annotated[Identity, Depends(caller)]
