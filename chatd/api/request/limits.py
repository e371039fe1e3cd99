"""What one request may hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chatd.api.errors.problems import FieldProblem, HttpProblem
from chatd.api.schema.resources import FileInput, TextInput
from chatd.api.schema.tools import Tool
from chatd.domain.message import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """How much of something one request may bring; 0: unlimited."""

    max_content_parts: int = 100
    max_labels: int = 64
    max_tools: int = 64

    def check_content(self, content: str | list[TextInput | FileInput]) -> Content:
        """What a caller gave, as content parts. Raises ``HttpProblem`` (422)."""
        if isinstance(content, str):
            return ({"type": "text", "text": content},)
        if self.max_content_parts and len(content) > self.max_content_parts:
            most = f"at most {self.max_content_parts} parts (limits.max_content_parts)"
            raise _too_many("too_many_parts", "body.content", most)
        return tuple(part.model_dump() for part in content)

    def check_labels(self, labels: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """The labels a caller gave. Raises ``HttpProblem`` (422)."""
        if labels is not None and self.max_labels and len(labels) > self.max_labels:
            most = f"at most {self.max_labels} labels (limits.max_labels)"
            raise _too_many("too_many_labels", "body.labels", most)
        return labels

    def check_tools(self, tools: Sequence[Tool]) -> Sequence[Mapping[str, Any]]:
        """The tools a caller gave, as they are stored. Raises ``HttpProblem`` (422)."""
        if self.max_tools and len(tools) > self.max_tools:
            most = f"at most {self.max_tools} tools (turn.max_tools)"
            raise _too_many("too_many_tools", "body.tools", most)
        return [tool.model_dump() for tool in tools]


def _too_many(code: str, where: str, message: str) -> HttpProblem:
    return HttpProblem(
        code,
        f"{where}: {message}.",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        errors=[FieldProblem(where=where, message=message)],
    )
