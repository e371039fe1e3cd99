"""Route that serves the files of a chat."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from chatd.api.context import ApiContext, Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller
from chatd.api.scope import header_values
from chatd.domain.files import file_spans
from chatd.store.files import StoredFile

router = APIRouter(prefix="/api/v1/chats/{chat_id}/files", tags=["messages"])

_SHOWN_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Media types that a browser may show. It saves any other file: a page would act as its reader
on this origin."""
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+(; ?charset=[\w.:-]+)?", re.ASCII)
"""Media types that are served as they are. The caller chose them, and they become a header."""
_UNKNOWN_TYPE: Final = "application/octet-stream"
_CACHING: Final = {"cache-control": "private, max-age=31536000, immutable"}
"""An id stands for one content for ever."""
_BYTES: Final[Mapping[int | str, dict[str, Any]]] = {
    200: {
        "description": "The bytes of the file, in its media type.",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "The file is the one of `If-None-Match`."},
}


@router.get(
    "/{file_id}",
    response_class=Response,
    responses={**_BYTES, **problem_responses("chat_not_found", "file_not_found")},
)
async def get_file(
    chat_id: UUID, file_id: UUID, caller: Caller, context: Context, request: Request
) -> Response:
    """Return the bytes of a file. They never change, so that clients may keep them."""
    file = await context.store.files.file(chat_id, file_id, owner_id=caller.owner_filter)
    etag = f'"{file_id}"'
    headers = {"etag": etag, **_CACHING}
    if _matches(header_values(request.scope, b"if-none-match"), etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    pieces = _pieces(context, chat_id, file_id, file.size)
    first = await anext(pieces, b"")  # a problem can be answered until here
    return StreamingResponse(
        _joined(first, pieces),
        headers={**headers, **_safe_headers(file), "content-length": str(file.size)},
    )


def _matches(values: Sequence[bytes], etag: str) -> bool:
    tags = {
        tag.strip().removeprefix("W/") for v in values for tag in v.decode("latin-1").split(",")
    }
    return bool(tags & {etag, "*"})


def _safe_headers(file: StoredFile) -> Mapping[str, str]:
    """Return headers by which no browser runs or shows what is not an image."""
    known = _MEDIA_TYPE.fullmatch(file.media_type)
    shown = file.media_type in _SHOWN_TYPES
    return {
        "content-type": file.media_type if known else _UNKNOWN_TYPE,
        "content-disposition": "inline" if shown else "attachment",
        "content-security-policy": "default-src 'none'; sandbox",
        "x-content-type-options": "nosniff",
    }


async def _pieces(
    context: ApiContext, chat_id: UUID, file_id: UUID, size: int
) -> AsyncIterator[bytes]:
    for span in file_spans(file_id, size):
        [data] = await context.store.files.read(chat_id, [span])
        yield data


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
