"""The words about agents that models read: tools, refusals, and states. They are an interface."""

from collections.abc import Mapping
from typing import Final

from chatd.domain.agents import SpawnRefusal
from chatd.domain.chat import Status

DELETED: Final = "deleted"

AGENT_STATES: Final[Mapping[str, str]] = {
    Status.WAITING.value: "idle",
    Status.ERROR.value: "failed",
    Status.PENDING.value: "working",
    Status.RUNNING.value: "working",
    Status.INTERRUPTING.value: "stopping",
    Status.REQUIRES_ACTION.value: "waiting for people",
    Status.PARKED.value: "waiting for agents of its own",
    DELETED: "deleted",
}
"""States of agents, by the status of their chats. One that is deleted, or never was, has no status."""

SPAWN: Final = (
    "Start an agent: another chat with a model, which works on its own while you go on. It knows nothing "
    "of this conversation, so the prompt has to say all that it needs. Start several with calls side by "
    "side to have them work at the same time. The result has the id of the agent, for wait_agent."
)
PROMPT: Final = "The task, with all that the agent has to know, and what its answer is to contain."
NAME: Final = "A few words by which people recognize the agent."
MODEL: Final = "The model that answers. Default: the one of this chat. Models: {models}."
TOOLS: Final = "The tools that the agent gets. Default: those of this chat. Choices: {tools}."
NO_TOOLS: Final = "The tools that the agent gets. This chat has none to give, so leave it out."

WAIT: Final = (
    "Wait for agents, and read their answers. The conversation stands still meanwhile. An agent that "
    "failed says why. When the time is over, the states so far are the result, and you may wait again."
)
IDS: Final = "Ids of agents that this chat has started."
UNTIL: Final = '"all": until each of them is idle or has failed (default); "any": until one is.'
SECONDS: Final = "The time to wait. Default, and most: {seconds:g}."

MESSAGE: Final = (
    "Send a message to an agent, which answers it. One that is at work answers it after that. Wait for it "
    "with wait_agent."
)
TEXT: Final = "The message."
INTERRUPT: Final = (
    "Stop what an agent does, and what its own agents do. It keeps what it has said so far."
)
LIST: Final = "List the agents that this chat has started, with their states."
ID: Final = "The id of an agent that this chat has started."


def no_agent(name: str) -> str:
    """Return the result of a call about an agent that this chat has not started, or that was deleted."""
    return f"This chat has no agent {name}."


def no_tools(missing: str, choices: str) -> str:
    """Return the result of a call that gives tools that the chat does not have."""
    return f"This chat has no tools {missing} to give. It has: {choices or 'none'}."


_REFUSALS: Final[Mapping[SpawnRefusal, str]] = {
    SpawnRefusal.TOO_DEEP: "This agent cannot start others. Do the work without.",
    SpawnRefusal.TOO_MANY_CHILDREN: (
        "This chat has started as many agents as it may. Send a message to one that is idle instead."
    ),
    SpawnRefusal.FAMILY_TOO_LARGE: (
        "There are as many agents as this chat and all its agents may have. Send a message to one that is "
        "idle instead."
    ),
    SpawnRefusal.CHAT_FULL: "The prompt is too long.",
    SpawnRefusal.STORAGE_FULL: "There is no space left for another agent.",
    SpawnRefusal.ID_TAKEN: "No agent was started. Call this tool again.",
}


def not_started(reason: SpawnRefusal) -> str:
    """Return the result of a call that starts no agent."""
    return _REFUSALS[reason]
