"""Chunks of files, as they come: also of files that grow, and of what takes their place."""

import gzip
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 256 * 1024
_POLL_SECONDS = 0.2


class Readable(Protocol):
    """A file, however it is stored."""

    def read(self, size: int, /) -> bytes: ...


def read_chunks(source: Readable) -> Iterator[bytes]:
    """What there is, as soon as it is there, until the end."""
    read = getattr(source, "read1", source.read)
    while chunk := read(CHUNK_BYTES):
        yield chunk


def read_file_chunks(path: Path) -> Iterator[bytes]:
    """A whole file; one that was compressed when it was rotated, too. Raises ``OSError``."""
    if path.suffix == ".gz":
        with gzip.open(path) as compressed:
            try:
                yield from read_chunks(compressed)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise OSError(f"{path}: it is damaged: {error}") from error
    else:
        with path.open("rb") as plain:
            yield from read_chunks(plain)


class TailedFile:
    """A file that is written to, and everything that will be: it may be renamed, cut off, or not yet there.

    ``read_chunks`` never ends; an empty chunk says that there is nothing more for now, and None that what
    follows is of a new file.
    """

    def __init__(self, path: Path, *, poll_seconds: float = _POLL_SECONDS) -> None:
        self._path = path
        self._poll_seconds = poll_seconds

    def chunks(self) -> Iterator[bytes | None]:
        while True:
            try:
                source = self._path.open("rb", buffering=0)
            except FileNotFoundError:
                time.sleep(self._poll_seconds)
                continue
            with source:
                yield from self._read_until_replaced(source.fileno())
            yield None

    def _read_until_replaced(self, descriptor: int) -> Iterator[bytes]:
        """All of one file, until another has its name; what was written to it before that, too."""
        replaced = False
        while True:
            while chunk := os.read(descriptor, CHUNK_BYTES):
                yield chunk
            if replaced:
                return
            yield b""
            replaced = self._is_replaced(descriptor)
            if not replaced:
                time.sleep(self._poll_seconds)

    def _is_replaced(self, descriptor: int) -> bool:
        """Whether the name stands for another file; a file that was cut off is begun again."""
        ours = os.fstat(descriptor)
        if ours.st_size < os.lseek(descriptor, 0, os.SEEK_CUR):
            os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)
