"""The tools that a server lists: those that can be offered, and words on those that cannot."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from chatd.domain.sanitize import replace_unstorable, replace_unstorable_json
from chatd.tools.mcp.config import MAX_LISTED_TOOLS, McpServerConfig
from chatd.tools.mcp.names import offered_names

MAX_SCHEMA_BYTES: Final = 64 * 1024
"""Size of the schema of a tool's parameters. It is sent with each call of a model."""
MAX_SCHEMA_DEPTH: Final = 32
"""Levels of a schema. What reads it recurses."""
MAX_DESCRIPTION_LENGTH: Final = 8192
"""Characters of a description. A longer one is cut."""
_MAX_NAMED_TOOLS: Final = 5
"""Tools that a notice names."""
_MAX_SHOWN_NAME: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolHints:
    """A server's own words on what its tool does. Nobody has checked them."""

    read_only: bool = False
    destructive: bool = False


NO_HINTS: Final = ToolHints()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTool:
    """A tool as its server describes it. ``parameters`` is unchecked."""

    name: str
    description: str
    parameters: Any
    hints: ToolHints = NO_HINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTool:
    """A tool of an MCP server that can be offered to models under the name ``offered_name``."""

    server: str
    name: str
    offered_name: str
    description: str
    parameters: Mapping[str, Any]
    idempotent: bool
    read_only: bool = False
    note: str | None = None
    """Words for a person who is asked about a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolList:
    """The tools of a server in the order of their offered names, and notices for people about the rest."""

    tools: Sequence[McpTool] = ()
    notices: Sequence[str] = ()


def tool_list(config: McpServerConfig, listed: Sequence[ListedTool]) -> ToolList:
    """Return what is offered of a server's tools, within the bounds of the configuration."""
    wanted = [tool for tool in listed if matches(tool.name, config.tools)]
    fitting: dict[str, ListedTool] = {}
    unfit: list[str] = []
    for tool in wanted:
        if schema_problem(tool.parameters):
            unfit.append(tool.name)
        else:
            fitting.setdefault(tool.name, tool)
    names = sorted(offered_names(config.name, fitting).items())
    notices = []
    if unfit:
        notices.append(
            f"{_named(unfit)} of MCP server {config.name} cannot be offered: the schema of the parameters "
            f"must be an object of at most {MAX_SCHEMA_BYTES // 1024} KiB and {MAX_SCHEMA_DEPTH} levels"
        )
    if len(names) > config.max_tools:
        more = "at least " if len(listed) >= MAX_LISTED_TOOLS else ""
        notices.append(
            f"MCP server {config.name} has {more}{len(names)} tools, of which the first {config.max_tools} "
            f"are offered: choose with mcp.{config.name}.tools, or raise max_tools"
        )
    offered = [_offered(config, name, fitting[tool]) for name, tool in names[: config.max_tools]]
    return ToolList(tools=offered, notices=notices)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns, as of file names, fits a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def schema_problem(schema: Any) -> str | None:
    """Return why a schema cannot be the schema of a tool's parameters. None: it can."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return "it is not the schema of an object"
    if _is_deeper_than(schema, MAX_SCHEMA_DEPTH):
        return f"it has more than {MAX_SCHEMA_DEPTH} levels"
    if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        return f"it is larger than {MAX_SCHEMA_BYTES} bytes"
    return None


def _is_deeper_than(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return any(isinstance(each, dict | list) for each in level)


def _offered(config: McpServerConfig, name: str, tool: ListedTool) -> McpTool:
    return McpTool(
        server=config.name,
        name=tool.name,
        offered_name=name,
        description=replace_unstorable(tool.description[:MAX_DESCRIPTION_LENGTH]),
        parameters=replace_unstorable_json({"type": "object", **tool.parameters}),
        idempotent=matches(tool.name, config.idempotent),
        read_only=matches(tool.name, config.read_only)
        or (config.trust_hints and tool.hints.read_only),
        note=_note(tool.hints),
    )


def _note(hints: ToolHints) -> str | None:
    if hints.read_only:
        return "Its MCP server calls it read-only."
    return "Its MCP server calls it destructive." if hints.destructive else None


def _named(tools: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:_MAX_SHOWN_NAME]) for name in tools[:_MAX_NAMED_TOOLS])
    others = len(tools) - _MAX_NAMED_TOOLS
    return f"{shown} and {others} other tools" if others > 0 else shown
