"""Configuration of turns that a reload may replace."""

from dataclasses import dataclass

from chatd.llm.catalog import Catalog
from chatd.tools.registry import ToolRegistry
from chatd.worker.retry import RetryPolicy
from chatd.worker.turn_limits import NO_AGENTS, AgentLimits, ToolLimits, TurnLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnConfig:
    """Values that a turn reads when it begins and keeps to its end."""

    catalog: Catalog
    limits: TurnLimits
    retry: RetryPolicy
    tools: ToolRegistry
    tool_limits: ToolLimits
    agents: AgentLimits = NO_AGENTS
