"""Limits on the size of one request's parts, labels and tools."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chatd.api.errors.problems import MAX_NAMED_MISTAKES, FieldProblem, HttpProblem
from chatd.api.schema.tools import ServerTools, Tool
from chatd.domain.message import Content, Part
from chatd.domain.tool_choice import ToolKind, taken_names


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Limits on the parts, labels and tools of one request (0: unlimited).

    Each check returns its argument, or raises ``HttpProblem`` (422).
    """

    max_content_parts: int
    max_labels: int
    max_tools: int
    server_tools: Mapping[str, frozenset[str]]
    """Names of the servers and tools that a chat may choose, by kind."""

    def check_content(self, content: Content) -> Content:
        """Check the number of parts of a message."""
        if self.max_content_parts and len(content) > self.max_content_parts:
            message = f"at most {self.max_content_parts} parts (limits.max_content_parts)"
            raise _refused("too_many_parts", "body.content", message)
        return content

    def check_labels(self, labels: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """Check the number of labels of a chat."""
        if labels is not None and self.max_labels and len(labels) > self.max_labels:
            message = f"at most {self.max_labels} labels (limits.max_labels)"
            raise _refused("too_many_labels", "body.labels", message)
        return labels

    def check_tools(self, tools: Sequence[Tool]) -> Sequence[Tool]:
        """Check the number of tools of a chat, and that none has the name of a tool of the server."""
        if self.max_tools and len(tools) > self.max_tools:
            message = f"at most {self.max_tools} tools (turn.max_tools)"
            raise _refused("too_many_tools", "body.tools", message)
        taken = self.server_tools[ToolKind.HTTP] | taken_names(self.server_tools[ToolKind.BUILTIN])
        for number, tool in enumerate(tools):
            if tool.name in taken:
                message = f"{tool.name} is a tool of this server; give yours another name"
                raise _refused("invalid_request", f"body.tools.{number}.name", message)
        return tools

    def check_server_tools(self, choice: ServerTools | None) -> Mapping[str, Sequence[str]] | None:
        """Check that the configuration has all servers and tools of a choice."""
        names = {} if choice is None else choice.names()
        for kind, missing in self.missing_server_tools(names).items():
            where = f"body.server_tools.{kind}"
            named = ", ".join(missing[:MAX_NAMED_MISTAKES])
            raise _refused("invalid_request", where, f"this server has no {named}")
        return names or None

    def missing_server_tools(self, choice: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Return what the configuration does not have of a choice."""
        missing = {
            kind: [name for name in names if name not in self.server_tools.get(kind, ())]
            for kind, names in choice.items()
        }
        return {kind: names for kind, names in missing.items() if names}


def check_files(content: Content, file_refusal: Callable[[Part], str | None]) -> None:
    """Raise a problem that names each file that the model's provider does not take, and its media type."""
    errors = [
        FieldProblem(where=f"body.content.{number}", message=f"is {reason}")
        for number, part in enumerate(content)
        if part["type"] == "file" and (reason := file_refusal(part))
    ]
    if errors:
        detail = "; ".join(
            f"{error.where} {error.message}" for error in errors[:MAX_NAMED_MISTAKES]
        )
        raise HttpProblem("unsupported_file", f"{detail}.", errors=errors[:MAX_NAMED_MISTAKES])


def _refused(code: str, where: str, message: str) -> HttpProblem:
    return HttpProblem(
        code,
        f"{where}: {message}.",
        errors=[FieldProblem(where=where, message=message)],
    )
