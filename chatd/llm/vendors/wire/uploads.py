"""Files in a request to a provider, filled in while it is sent.

The SDKs build the body of a request in memory, as one string: with 30 images of 2 MB that took half a
gigabyte and blocked the event loop for a second. So a placeholder stands for each file until the request is
sent. Then its bytes are read and encoded a piece at a time, as the connection takes them.
"""

import base64
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Final
from uuid import UUID

import httpx2

from chatd.domain.files import ReadFiles, file_spans, span_batches

_MARK_BYTES: Final = 36
_NUMBER_BYTES: Final = 12
_NUMBER_LETTERS: Final = _NUMBER_BYTES // 3 * 4


class Uploads:
    """Files of one request. ``on_bytes`` is called as the connection takes them."""

    def __init__(self, read_files: ReadFiles, *, on_bytes: Callable[[], None]) -> None:
        self._read_files = read_files
        self._on_bytes = on_bytes
        self._mark = secrets.token_bytes(_MARK_BYTES)  # so that no text of a message can hold it
        self._files: list[tuple[UUID, int]] = []

    def placeholder(self, file_id: UUID, size: int) -> bytes:
        """Return the bytes that an SDK is given in place of a file."""
        self._files.append((file_id, size))
        return self._mark + (len(self._files) - 1).to_bytes(_NUMBER_BYTES)

    def fill(self, request: httpx2.Request) -> httpx2.Request:
        """Return the request with the files in it."""
        if not self._files:
            return request
        mark = re.escape(base64.b64encode(self._mark))
        number = b"([A-Za-z0-9+/]{%d})" % _NUMBER_LETTERS
        first, *rest = re.split(mark + number, request.content)
        pieces: list[bytes | tuple[UUID, int]] = [first]
        for encoded, after in zip(rest[::2], rest[1::2], strict=True):
            pieces += [self._files[int.from_bytes(base64.b64decode(encoded))], after]
        headers = [
            (name, value)
            for name, value in request.headers.raw
            if name.lower() not in {b"content-length", b"transfer-encoding"}
        ]
        length = sum(map(_encoded_length, pieces))
        return httpx2.Request(
            request.method,
            request.url,
            headers=[*headers, (b"content-length", str(length).encode())],
            stream=_FilledBody(pieces, self._read_files, self._on_bytes),
            extensions=request.extensions,
        )


class _FilledBody(httpx2.AsyncByteStream):
    """Body of a request, which may be sent again after a redirect."""

    def __init__(
        self,
        pieces: Sequence[bytes | tuple[UUID, int]],
        read_files: ReadFiles,
        on_bytes: Callable[[], None],
    ) -> None:
        self._pieces = pieces
        self._read_files = read_files
        self._on_bytes = on_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        spans = self._file_pieces()
        try:
            for piece in self._pieces:
                if isinstance(piece, bytes):
                    yield piece
                    continue
                for _ in file_spans(*piece):
                    yield base64.b64encode(await anext(spans))
                    self._on_bytes()
        finally:
            await spans.aclose()

    async def _file_pieces(self) -> AsyncGenerator[bytes, None]:
        files = [piece for piece in self._pieces if not isinstance(piece, bytes)]
        for batch in span_batches(files):
            for data in await self._read_files(batch):
                yield data


def _encoded_length(piece: bytes | tuple[UUID, int]) -> int:
    return len(piece) if isinstance(piece, bytes) else (piece[1] + 2) // 3 * 4
