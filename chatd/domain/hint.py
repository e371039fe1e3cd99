"""Hints: notices of other processes that a chat changed."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID
from zlib import crc32

from chatd.domain.chat import Status


@dataclass(frozen=True, slots=True)
class Hint:
    """A notice that a chat reached a version. It may arrive late, twice, out of order or never."""

    chat_id: UUID
    version: int
    status: Status | None = None
    """None: live parts were stored, and the chat itself did not change."""
    owner_hash: int | None = None
    """``hash_owner`` of the chat's owner. None: unknown, it may be anybody's."""


def hash_owner(owner_id: str) -> int:
    """Return what a hint names an owner by, the same in every process. Two owners may share it."""
    return crc32(owner_id.encode(errors="surrogatepass"))


RESYNC: Final = Hint(UUID(int=0), 0)
"""The hint that others may have been missed: check everything once. Compared by identity."""
