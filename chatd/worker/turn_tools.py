"""The server's tools that one turn has. They are the front of the prompt that a provider caches."""

from collections.abc import Sequence

from chatd.domain.errors import ModelNotFound
from chatd.domain.notice import Notice
from chatd.domain.tool_choice import AGENTS, NO_CHOICE, READ_RESULT_TOOL, ToolChoice, ToolKind
from chatd.llm.catalog import ModelConfig
from chatd.store.histories import ChatHistory
from chatd.store.tool_outputs import OutputSpan
from chatd.tools.registry import ToolRegistry
from chatd.worker.agents import AgentTools, may_have_agents, until_answered
from chatd.worker.config import TurnConfig
from chatd.worker.lease import Lease
from chatd.worker.result_reading import has_cut_result, reading_tool
from chatd.worker.turn_services import TurnServices


async def chosen_tools(
    services: TurnServices, config: TurnConfig, lease: Lease
) -> tuple[ToolRegistry, Sequence[Notice]]:
    """Return the tools that a chat has chosen, as they are now, and what it does without.

    A turn keeps them to its end.
    """
    chosen = lease.chat.server_tools
    choice = NO_CHOICE if chosen is None else ToolChoice(chosen)
    tools = await services.mcp.snapshot(config.tools, choice)
    if may_have_agents(lease.chat, config.agents) and choice.allows(
        ToolKind.BUILTIN, AGENTS, by_default=config.agents.default
    ):
        agents = AgentTools(
            services, lease, catalog=config.catalog, limits=config.agents, given=tools
        )
        tools = tools.with_tools(*agents.tools())
    if lease.chat.parent_chat_id is not None and tools.tools:
        above = await until_answered(lambda: services.children.permissions_above(lease.chat.id))
        tools = tools.limited_by(*above)
    return tools, services.mcp.notices(choice)


def model_of(config: TurnConfig, lease: Lease) -> ModelConfig | None:
    """Return the chat's model. None: it is not configured here any more."""
    try:
        return config.catalog.by_id(lease.chat.last_model_config_id)
    except ModelNotFound:
        return None


def window_of(config: TurnConfig, lease: Lease) -> int | None:
    """Return the number of tokens that the chat's model reads, if it is known."""
    model = model_of(config, lease)
    return None if model is None else model.context_limit


def tools_for(
    history: ChatHistory, services: TurnServices, config: TurnConfig, lease: Lease
) -> ToolRegistry:
    """Return the tools of a step: those of ``config``, and one to read results that are not shown whole."""
    if READ_RESULT_TOOL in config.tools.policies:
        return config.tools
    if lease.chat.pruned_through is None and not has_cut_result(history.messages):
        return config.tools

    async def read(
        call_id: str, message_id: int | None, offset: int, length: int
    ) -> OutputSpan | None:
        return await services.turns.read_output(
            lease.chat.id, call_id, message_id=message_id, offset=offset, length=length
        )

    return config.tools.with_tools(reading_tool(read))
