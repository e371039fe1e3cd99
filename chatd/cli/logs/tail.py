"""Files as chunks of bytes, also files that grow and are replaced by rotation."""

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
    """Open binary file, plain or compressed."""

    def read(self, size: int, /) -> bytes: ...


def read_chunks(source: Readable) -> Iterator[bytes]:
    """Yield data as soon as it is available, until the end."""
    read = getattr(source, "read1", source.read)
    while chunk := read(CHUNK_BYTES):
        yield chunk


def read_file_chunks(path: Path) -> Iterator[bytes]:
    """Yield a whole file, decompressed if its name ends in .gz. Raises ``OSError``."""
    if path.suffix == ".gz":
        with gzip.open(path) as compressed:
            try:
                yield from read_chunks(compressed)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise OSError(f"{path}: the file is damaged: {error}") from error
    else:
        with path.open("rb") as plain:
            yield from read_chunks(plain)


class TailedFile:
    """File that is read while it grows. It may be renamed, truncated, or not exist yet.

    ``chunks`` never ends. An empty chunk means that there is no more data for now. None means that the
    next chunk is from a new file.
    """

    def __init__(self, path: Path, *, poll_seconds: float = _POLL_SECONDS) -> None:
        self._path = path
        self._poll_seconds = poll_seconds

    def chunks(self) -> Iterator[bytes | None]:
        """Yield the data of the file, and of each file that replaces it."""
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
        """Yield one file until another takes its name, and then the rest of it."""
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
        """Return whether the name belongs to another file now. Rewind a file that was truncated."""
        opened = os.fstat(descriptor)
        if opened.st_size < os.lseek(descriptor, 0, os.SEEK_CUR):
            os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            current = self._path.stat()
        except FileNotFoundError:
            return False
        return (current.st_dev, current.st_ino) != (opened.st_dev, opened.st_ino)
