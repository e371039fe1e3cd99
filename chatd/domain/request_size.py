"""Size of a model request in tokens, without a tokenizer.

The provider counted the tokens of the last step. What came after it is estimated, a token for three bytes,
and the usage of the next step corrects that. Tables of tokenizers would have to be downloaded, and the
counting calls of providers cost a round trip.
"""

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from uuid import UUID

from chatd.domain.message import Message, NewMessage, Part, Role

BYTES_PER_TOKEN: Final = 3
"""Bytes of a token: about four of English, three of Chinese and two of code with many signs."""
_IMAGE_TOKENS: Final = 1600
"""Tokens of an image, about the most that a provider counts after it has scaled the image down."""
_PAGE_TOKENS: Final = 2500
_PAGE_BYTES: Final = 50_000
"""A page of a document. Nothing counts its pages here, so a page is so many bytes."""


def text_tokens(text: str) -> int:
    """Return the estimated tokens of a text."""
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    return -(-size // BYTES_PER_TOKEN)


def result_text(result: Any) -> str:
    """Return the result of a tool as the text that a model is shown."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def part_tokens(part: Part) -> int:
    """Return the estimated tokens of a content part."""
    match part["type"]:
        case "text":
            return text_tokens(part["text"])
        case "file":
            return _file_tokens(part)
        case "tool-result":
            tokens = text_tokens(result_text(part.get("result"))) + text_tokens(part["tool_name"])
            return tokens + sum(map(_file_tokens, part.get("files") or ()))
    return text_tokens(str(part))


def _file_tokens(part: Part) -> int:
    media_type, size = part.get("media_type") or "", part.get("size") or 0
    if media_type.startswith("image/"):
        return _IMAGE_TOKENS
    if media_type == "application/pdf":
        return _PAGE_TOKENS * max(-(-size // _PAGE_BYTES), 1)
    return -(-size // BYTES_PER_TOKEN)


def message_tokens(message: Message | NewMessage) -> int:
    """Return the estimated tokens of a message."""
    return sum([part_tokens(part) for part in message.content])


class RequestSize(NamedTuple):
    """Tokens of the next request that sends all messages of a history."""

    estimated: int = 0
    """The estimated tokens of all messages."""
    model_config_id: UUID | None = None
    """The model of the last step whose tokens were counted. None: there is none."""
    counted: int = 0
    """The counted tokens of that step, and the estimated ones of what came after."""
    summary_id: int = 0
    """The summary at the front. Earlier steps, which come after it, had a longer history."""

    def followed_by(self, messages: Iterable[Message]) -> "RequestSize":
        """Return the size with further messages."""
        estimated, model_config_id, counted, summary_id = self
        for message in messages:
            tokens = message_tokens(message)
            estimated += tokens
            if message.covers_until is not None:
                summary_id = message.id
            usage = message.usage if message.role is Role.ASSISTANT else None
            if usage is not None and usage.input_tokens and message.id > summary_id:
                model_config_id = message.model_config_id
                counted = usage.input_tokens + usage.output_tokens
            else:
                counted += tokens
        return RequestSize(estimated, model_config_id, counted, summary_id)

    def tokens(self, model_config_id: UUID) -> int:
        """Return the tokens of the next request to a model."""
        return self.counted if model_config_id == self.model_config_id else self.estimated
