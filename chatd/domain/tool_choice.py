"""The choice of a chat among the server's tools."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ToolKind(StrEnum):
    """Kind of the server's tools that a chat chooses by name. Those of MCP are chosen by their server."""

    MCP = "mcp"
    HTTP = "http"
    BUILTIN = "builtin"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The servers and tools that a chat chose, by kind. Of a kind that is not named, it has the default.

    Names may be unknown: the configuration that had them is another by now, or that of another replica.
    """

    names: Mapping[str, Sequence[str]]

    def allows(self, kind: ToolKind, name: str, *, by_default: bool) -> bool:
        """Return whether the chat has a server or a tool."""
        chosen = self.names.get(kind)
        return by_default if chosen is None else name in chosen


READ_RESULT_TOOL: Final = "read_tool_result"
"""Name of the built-in tool that reads what was cut out of a result."""
ASK_USER_TOOL: Final = "ask_user_question"
"""Name of the built-in tool that asks a person, if the configuration has it."""
RESERVED_TOOL_NAMES: Final = frozenset({READ_RESULT_TOOL})
"""Names of built-in tools that no other tool may have."""

AGENTS: Final = "agents"
"""Name by which a chat chooses all tools of agents, which are built-in."""
SPAWN_AGENT: Final = "spawn_agent"
WAIT_AGENT: Final = "wait_agent"
MESSAGE_AGENT: Final = "message_agent"
INTERRUPT_AGENT: Final = "interrupt_agent"
LIST_AGENTS: Final = "list_agents"
AGENT_TOOLS: Final = frozenset(
    {SPAWN_AGENT, WAIT_AGENT, MESSAGE_AGENT, INTERRUPT_AGENT, LIST_AGENTS}
)


def taken_names(builtin: Iterable[str]) -> frozenset[str]:
    """Return the names of tools that chatd has itself, with these built-in ones."""
    names = RESERVED_TOOL_NAMES.union(builtin)
    return names - {AGENTS} | AGENT_TOOLS if AGENTS in names else names


NO_CHOICE: Final = ToolChoice({})
