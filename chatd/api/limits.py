"""What one request may hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chatd.api.problems import BadRequest, FieldProblem
from chatd.api.schemas import GivenFile, GivenText
from chatd.api.tools import Tool
from chatd.domain.message import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of something one request may bring; 0: unlimited."""

    max_content_parts: int = 100
    max_labels: int = 64
    max_tools: int = 64

    def content(self, given: str | list[GivenText | GivenFile]) -> Content:
        """What a caller gave, as content parts. Raises ``BadRequest`` (422)."""
        if isinstance(given, str):
            return ({"type": "text", "text": given},)
        if self.max_content_parts and len(given) > self.max_content_parts:
            most = f"at most {self.max_content_parts} parts (limits.max_content_parts)"
            raise _too_many("too_many_parts", "body.content", most)
        return tuple(part.model_dump() for part in given)

    def labels(self, given: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """The labels a caller gave. Raises ``BadRequest`` (422)."""
        if given is not None and self.max_labels and len(given) > self.max_labels:
            most = f"at most {self.max_labels} labels (limits.max_labels)"
            raise _too_many("too_many_labels", "body.labels", most)
        return given

    def tools(self, given: Sequence[Tool]) -> Sequence[Mapping[str, Any]]:
        """The tools a caller gave, as they are stored. Raises ``BadRequest`` (422)."""
        if self.max_tools and len(given) > self.max_tools:
            most = f"at most {self.max_tools} tools (turn.max_tools)"
            raise _too_many("too_many_tools", "body.tools", most)
        return [tool.model_dump() for tool in given]


def _too_many(code: str, where: str, most: str) -> BadRequest:
    return BadRequest(
        code,
        f"{where}: {most}.",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        errors=[FieldProblem(where=where, message=most)],
    )
