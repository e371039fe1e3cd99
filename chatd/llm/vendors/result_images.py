"""Images of tools in an outgoing history: the newest ones, as far as the provider takes them."""

from collections.abc import Sequence
from typing import Any, Final

from chatd.domain.message import Message, Part, Role
from chatd.llm.vendors.files import media_type_of, refusal
from chatd.llm.vendors.history_rules import HistoryRules

_MAX_IMAGES: Final = 20
"""Images of one request. Anthropic takes smaller ones when there are more."""
_MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of them together. Anthropic takes 32 MB as a whole, in base64."""


class ResultImages:
    """Images in the results of tools of a history, for a provider with these rules."""

    def __init__(self, messages: Sequence[Message], rules: HistoryRules) -> None:
        self._rules = rules
        self._shown: set[int] = set()
        size = 0
        for file in _newest_first(messages):
            size += file["size"]
            if size > _MAX_BYTES or len(self._shown) == _MAX_IMAGES:
                break
            self._shown.add(id(file))

    def of(self, result: Part) -> tuple[list[Part], list[str]]:
        """Return the images of a result that are sent, and words for the others."""
        images: list[Part] = []
        words: list[str] = []
        for file in result.get("files") or ():
            media_type = media_type_of(file)
            reason = refusal(file, file_types=self._rules.file_types)
            if reason is not None:
                words.append(f"(There was {reason}.)")
            elif id(file) not in self._shown:
                words.append(f"(There was a file of type {media_type}, which is not shown again.)")
            else:
                images.append({**file, "media_type": media_type})
        return images, words


def _newest_first(messages: Sequence[Message]) -> Sequence[dict[str, Any]]:
    tool = Role.TOOL
    return [
        file
        for message in reversed(messages)
        if message.role is tool
        for part in reversed(message.content)
        for file in reversed(part.get("files") or ())
    ]
