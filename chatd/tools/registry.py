"""The server's tools by name, and calls of them."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_call_errors import bad_arguments, no_such_tool
from chatd.tools.arguments import (
    ArgumentCheck,
    BadArguments,
    accept_arguments,
    argument_check,
    parse_arguments,
)
from chatd.tools.output import capped
from chatd.tools.tool import Tool, ToolOutcome, ToolRequest


class ToolRegistry:
    """The tools that the server runs for every chat, in the order of their names.

    Models are shown them in this order, so that a provider's cache of the prompt holds.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self.tools: Sequence[Tool] = tuple(sorted(tools, key=lambda tool: tool.name))
        self._by_name = {tool.name: tool for tool in self.tools}
        self._checks: dict[str, ArgumentCheck] = {}
        self.policies: Mapping[str, CallPolicy] = {tool.name: tool.policy for tool in self.tools}
        """The policy of each tool, by its name."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToolRegistry) and self.tools == other.tools

    def __hash__(self) -> int:
        return hash(tuple(self._by_name))

    def timeout_seconds(self, name: str) -> float:
        """Return the time that a call of this tool has. 0: there is no such tool."""
        tool = self._by_name.get(name)
        return tool.timeout_seconds if tool else 0.0

    async def call(self, name: str, args: str, *, key: UUID, output_bytes: int) -> ToolOutcome:
        """Run a tool with arguments as the model wrote them. Mistakes of the model are outcomes."""
        tool = self._by_name.get(name)
        if tool is None:  # a reload took it away since the call was stored
            return ToolOutcome(text=no_such_tool(name), is_error=True)
        try:
            parsed = parse_arguments(args, self._check_of(tool))
        except BadArguments as error:
            return ToolOutcome(text=bad_arguments(str(error)), is_error=True)
        outcome = await tool.run(ToolRequest(args=parsed, key=key, output_bytes=output_bytes))
        return ToolOutcome(text=capped(outcome.text, output_bytes), is_error=outcome.is_error)

    def _check_of(self, tool: Tool) -> ArgumentCheck:
        if tool.checks_arguments:
            return accept_arguments
        if tool.name not in self._checks:
            self._checks[tool.name] = argument_check(tool.parameters)
        return self._checks[tool.name]
