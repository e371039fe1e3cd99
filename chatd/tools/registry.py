"""The server's tools by name, and calls of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from chatd.domain.agents import Wait
from chatd.domain.permission import (
    ChatPermissions,
    ConfiguredPermissions,
    Permission,
    decide,
    strictest,
)
from chatd.domain.question import MAY_RUN, Question, QuestionKind
from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_call_errors import OUTCOME_UNKNOWN, bad_arguments, no_such_tool
from chatd.domain.tool_choice import NO_CHOICE, ToolChoice
from chatd.tools.arguments import (
    ArgumentCheck,
    BadArguments,
    accept_arguments,
    argument_check,
    parse_arguments,
)
from chatd.tools.output import OutputLimits, cap
from chatd.tools.tool import (
    GivenInput,
    ReportProgress,
    Tool,
    ToolOutcome,
    ToolRequest,
    ignore_progress,
)


class ToolRegistry:
    """Tools that the server runs, in the order of their names.

    Models are shown them in this order, so that a provider's cache of the prompt holds.
    """

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        permissions: ConfiguredPermissions = ConfiguredPermissions(),  # noqa: B008 - frozen
        *,
        checks: dict[str, ArgumentCheck] | None = None,
        inherited: tuple[ChatPermissions, ...] = (),
    ) -> None:
        self.permissions = permissions
        self._inherited = inherited
        self.tools: Sequence[Tool] = tuple(sorted(tools, key=lambda tool: tool.name))
        self._by_name = {tool.name: tool for tool in self.tools}
        self._checks = {} if checks is None else checks
        self._default = self._of(NO_CHOICE)
        self.policies: Mapping[str, CallPolicy] = {tool.name: tool.policy for tool in self.tools}
        """The policy of each tool, by its name."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ToolRegistry)
            and self.tools == other.tools
            and self.permissions == other.permissions
            and self._inherited == other._inherited
        )

    def __hash__(self) -> int:
        return hash(tuple(self._by_name))

    def with_tools(self, *tools: Tool) -> "ToolRegistry":
        """Return these tools and more, but for those whose names are taken."""
        new = [tool for tool in tools if tool.name not in self._by_name]
        if not new:
            return self
        return self._with([*self.tools, *new], self._inherited)

    def limited_by(self, *inherited: ChatPermissions) -> "ToolRegistry":
        """Return these tools for a chat that may do no more than others, which have these permissions."""
        return self._with(self.tools, inherited) if inherited else self

    def _with(
        self, tools: Iterable[Tool], inherited: tuple[ChatPermissions, ...]
    ) -> "ToolRegistry":
        return ToolRegistry(tools, self.permissions, checks=self._checks, inherited=inherited)

    def chosen(self, choice: ToolChoice) -> "ToolRegistry":
        """Return the tools of a chat with this choice."""
        return self._default if choice is NO_CHOICE else self._of(choice)

    def _of(self, choice: ToolChoice) -> "ToolRegistry":
        tools = [tool for tool in self.tools if _is_chosen(tool, choice)]
        if len(tools) == len(self.tools):
            return self
        return self._with(tools, self._inherited)

    def permission(self, name: str, chat: ChatPermissions) -> Permission:
        """Return the permission to run a tool in a chat. One that does not exist may do nothing."""
        tool = self._by_name.get(name)
        if tool is not None and not tool.needs_permission:
            return Permission.ALLOW
        return strictest(
            decide(
                name,
                own=tool.permission if tool else None,
                read_only=tool is not None and tool.read_only,
                configured=self.permissions,
                chat=each,
            )
            for each in (chat, *self._inherited)
        )

    def approval(self, name: str) -> Question:
        """Return the question whether a call may run."""
        tool = self._by_name.get(name)
        note = tool.note if tool else None
        return MAY_RUN if note is None else Question(kind=QuestionKind.APPROVAL, message=note)

    def question(self, name: str, args: str) -> Question | BadArguments | None:
        """Return the question of a call that a person answers. None: it is to be run."""
        tool = self._by_name.get(name)
        if tool is None or tool.question is None:
            return None
        try:
            return tool.question(parse_arguments(args, self._check_of(tool)))
        except BadArguments as error:
            return error

    def wait(self, name: str, args: str) -> Wait | None:
        """Return the chats that a call waits for. None: it is to be run, also for its complaint."""
        tool = self._by_name.get(name)
        if tool is None or tool.wait is None:
            return None
        try:
            return tool.wait(parse_arguments(args, self._check_of(tool)))
        except BadArguments:
            return None

    def complaint(self, name: str, args: str) -> str | None:
        """Return why arguments do not fit a tool. None: they fit, or it is not known here."""
        tool = self._by_name.get(name)
        try:
            parse_arguments(args, self._check_of(tool) if tool else accept_arguments)
        except BadArguments as error:
            return str(error)
        return None

    def timeout_seconds(self, name: str) -> float:
        """Return the time that a call of this tool has. 0: there is no such tool."""
        tool = self._by_name.get(name)
        return tool.timeout_seconds if tool else 0.0

    async def call(
        self,
        name: str,
        args: str,
        *,
        key: UUID,
        output: OutputLimits,
        on_progress: ReportProgress = ignore_progress,
        given: GivenInput | None = None,
        reattaches: bool = False,
    ) -> ToolOutcome:
        """Run a tool with arguments as the model wrote them. Mistakes of the model are outcomes."""
        tool = self._by_name.get(name)
        if tool is None:  # a reload took it away since the call was stored
            return ToolOutcome(text=no_such_tool(name), is_error=True)
        if reattaches and tool.policy is not CallPolicy.REATTACH:  # likewise
            return ToolOutcome(text=OUTCOME_UNKNOWN, is_error=True)
        try:
            parsed = parse_arguments(args, self._check_of(tool))
        except BadArguments as error:
            return ToolOutcome(text=bad_arguments(str(error)), is_error=True)
        request = ToolRequest(
            args=parsed,
            key=key,
            output=output,
            on_progress=on_progress,
            given=given,
            reattaches=reattaches,
        )
        outcome = await tool.run(request)
        if outcome.cut is not None or outcome.needs is not None:
            return outcome
        text, cut = cap(outcome.text, output)
        return replace(outcome, text=text, cut=cut)

    def _check_of(self, tool: Tool) -> ArgumentCheck:
        if tool.checks_arguments:
            return accept_arguments
        if tool.name not in self._checks:
            self._checks[tool.name] = argument_check(tool.parameters)
        return self._checks[tool.name]


def _is_chosen(tool: Tool, choice: ToolChoice) -> bool:
    return choice.allows(tool.kind, tool.server or tool.name, by_default=tool.by_default)
