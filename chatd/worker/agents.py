"""Tools by which a model starts other chats, waits for them, and sends them messages.

They change the database as the worker of the chat: each of their statements is fenced by its lease, so one
that comes after an interrupt changes nothing. All of them may be repeated, because the id of an agent, and
the key of a message, are those of the call.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

import anyio

from chatd.domain import agent_words as words
from chatd.domain.agents import Spawn, Wait
from chatd.domain.chat import Chat
from chatd.domain.errors import (
    ChatNotFound,
    DatabaseUnavailable,
    LeaseLost,
    ModelNotFound,
    Refused,
    SpawnRefused,
)
from chatd.domain.message import NewMessage, Role
from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_call_errors import CANCELLED_BEFORE_START
from chatd.domain.tool_choice import (
    AGENTS,
    INTERRUPT_AGENT,
    LIST_AGENTS,
    MESSAGE_AGENT,
    SPAWN_AGENT,
    WAIT_AGENT,
    ToolKind,
)
from chatd.llm.catalog import Catalog
from chatd.store.idempotency import IdempotencyKey
from chatd.tools.output import json_text
from chatd.tools.registry import ToolRegistry
from chatd.tools.tool import Tool, ToolOutcome, ToolRequest
from chatd.worker import agent_schemas as schemas
from chatd.worker.lease import Lease
from chatd.worker.statement_backoff import statement_backoff
from chatd.worker.turn_limits import AgentLimits
from chatd.worker.turn_services import TurnServices

T = TypeVar("T")
Run = Callable[[ToolRequest], Awaitable[ToolOutcome]]

_TIMEOUT_SECONDS: Final = 60.0
"""Time that a call has, which is enough for a failover of the database."""


def may_have_agents(chat: Chat, limits: AgentLimits, *, below: int = 0) -> bool:
    """Return whether a chat, or one so many generations below it, may start others.

    The chat does not say how many are above it if there are more than two. Then it is seen when it tries.
    """
    depth = 0 if chat.parent_chat_id is None else 1 + (chat.parent_chat_id != chat.root_chat_id)
    return limits.enabled and depth + below < limits.max_depth


class AgentTools:
    """The tools of one leased chat. ``given`` are the tools that it has and may give to its agents."""

    def __init__(
        self,
        services: TurnServices,
        lease: Lease,
        *,
        catalog: Catalog,
        limits: AgentLimits,
        given: ToolRegistry,
    ) -> None:
        self._children = services.children
        self._chats = services.chats
        self._metrics = services.metrics.turns
        self._lease = lease
        self._catalog = catalog
        self._limits = limits
        self._choices = _choices(given, lease.chat, limits)

    def tools(self) -> Sequence[Tool]:
        """Return the tools. A chat chooses them together."""
        models = ", ".join(model.name for model in self._catalog.models)
        spawn = schemas.spawn(models=models, tools=", ".join(self._choices))
        wait = schemas.wait(max_seconds=self._limits.max_wait_seconds)
        return (
            self._tool(SPAWN_AGENT, words.SPAWN, spawn, self._spawn),
            self._tool(
                WAIT_AGENT, words.WAIT, wait, self._not_waited, read_only=True, wait=self._wait
            ),
            self._tool(MESSAGE_AGENT, words.MESSAGE, schemas.MESSAGE, self._message),
            self._tool(INTERRUPT_AGENT, words.INTERRUPT, schemas.INTERRUPT, self._interrupt),
            self._tool(LIST_AGENTS, words.LIST, schemas.LIST, self._list, read_only=True),
        )

    def _tool(
        self,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        run: Run,
        *,
        read_only: bool = False,
        wait: Callable[[Mapping[str, Any]], Wait | None] | None = None,
    ) -> Tool:
        return Tool(
            name=name,
            description=description,
            parameters=parameters,
            policy=CallPolicy.IDEMPOTENT,
            timeout_seconds=_TIMEOUT_SECONDS,
            run=lambda request: _refusals_as_results(run, request),
            read_only=read_only,
            wait=wait,
            server=AGENTS,
            by_default=self._limits.default,
        )

    async def _spawn(self, request: ToolRequest) -> ToolOutcome:
        model, names = request.args.get("model"), request.args.get("tools")
        missing = [name for name in names or () if name not in self._choices]
        if missing:
            text = words.no_tools(", ".join(missing), ", ".join(self._choices))
            return ToolOutcome(text=text, is_error=True)
        prompt = ({"type": "text", "text": request.args["prompt"]},)
        spawn = Spawn(
            id=request.key,
            messages=[NewMessage(role=Role.USER, content=prompt)],
            title=request.args.get("name", ""),
            model_config_id=self._catalog.by_name(model).id if model else None,
            server_tools=None if names is None else self._server_tools(names),
        )
        started = await until_answered(lambda: self._children.spawn(self._lease.fence, spawn))
        if started.entry is not None:  # else an earlier start of this call did it
            self._metrics.agents_started.add()
        state = words.AGENT_STATES[started.chat.status]
        return _outcome({"id": str(started.chat.id), "name": started.chat.title, "state": state})

    def _server_tools(self, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the choice of these tools, and of no others, whatever is offered by default."""
        return {
            kind.value: sorted(name for name in set(names) if kind in self._choices[name])
            for kind in ToolKind
        }

    def _wait(self, args: Mapping[str, Any]) -> Wait | None:
        ids = list(map(self._awaited, args["ids"]))
        if None in ids:
            return None
        longest = self._limits.max_wait_seconds
        return Wait(
            chat_ids=tuple(dict.fromkeys(each for each in ids if each is not None)),
            for_all=args.get("until", "all") == "all",
            seconds=min(float(args.get("seconds", longest)), longest),
        )

    async def _not_waited(self, request: ToolRequest) -> ToolOutcome:
        unknown = next((name for name in request.args["ids"] if self._awaited(name) is None), "")
        return ToolOutcome(text=words.no_agent(unknown), is_error=True)

    def _awaited(self, name: str) -> UUID | None:
        """Return the id of a chat to wait for. None: it is no id, or that of this chat or one above it."""
        chat = self._lease.chat
        agent_id = _uuid(name)
        return None if agent_id in {chat.id, chat.parent_chat_id, chat.root_chat_id} else agent_id

    async def _message(self, request: ToolRequest) -> ToolOutcome:
        agent_id = _agent_id(request)
        text = request.args["text"]
        sent = await until_answered(
            lambda: self._chats.send(
                agent_id,
                owner_id=self._lease.chat.owner_id,
                content=({"type": "text", "text": text},),
                key=self._key(request),
                caller=self._lease.fence,
            )
        )
        return _outcome({"id": str(agent_id), "state": words.AGENT_STATES[sent.chat.status]})

    async def _interrupt(self, request: ToolRequest) -> ToolOutcome:
        agent_id = _agent_id(request)
        stopped = await until_answered(
            lambda: self._chats.interrupt(
                agent_id, owner_id=self._lease.chat.owner_id, caller=self._lease.fence
            )
        )
        return _outcome({"id": str(agent_id), "state": words.AGENT_STATES[stopped.chat.status]})

    def _key(self, request: ToolRequest) -> IdempotencyKey:
        """Return the key of a message, which is that of the call: another start of it sends no other."""
        name = f"agent {request.key}"
        return IdempotencyKey(self._lease.chat.owner_id, name, name.encode())

    async def _list(self, _: ToolRequest) -> ToolOutcome:
        agents = await until_answered(lambda: self._children.agents(self._lease.chat.id))
        return _outcome({"agents": [agent.result for agent in agents]})


def _choices(given: ToolRegistry, chat: Chat, limits: AgentLimits) -> Mapping[str, set[ToolKind]]:
    """Return the tools that a chat may give to its agents, by the names by which a chat chooses them."""
    choices: dict[str, set[ToolKind]] = {}
    for tool in given.tools:
        choices.setdefault(tool.server or tool.name, set()).add(tool.kind)
    if may_have_agents(chat, limits, below=1):
        choices.setdefault(AGENTS, set()).add(ToolKind.BUILTIN)
    return dict(sorted(choices.items()))


async def _refusals_as_results(run: Run, request: ToolRequest) -> ToolOutcome:
    try:
        return await run(request)
    except LeaseLost:
        # What the turn stores next shows why, and this may be stored with an interrupt.
        return ToolOutcome(text=CANCELLED_BEFORE_START, is_error=True)
    except ChatNotFound:
        return ToolOutcome(text=words.no_agent(request.args.get("id", "")), is_error=True)
    except SpawnRefused as error:
        return ToolOutcome(text=words.not_started(error.context["reason"]), is_error=True)
    except (ModelNotFound, Refused) as error:
        return ToolOutcome(text=str(error), is_error=True)


async def until_answered(statement: Callable[[], Awaitable[T]]) -> T:
    """Run a statement until the database answers. It may be repeated: its ids are those of the call."""
    backoff = statement_backoff()
    while True:
        try:
            return await statement()
        except DatabaseUnavailable:
            await anyio.sleep(backoff.next_delay())


def _agent_id(request: ToolRequest) -> UUID:
    """Return the id of the agent that a call is about. Raise ``ChatNotFound``."""
    agent_id = _uuid(request.args["id"])
    if agent_id is None:
        raise ChatNotFound(UUID(int=0))
    return agent_id


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _outcome(value: Mapping[str, Any]) -> ToolOutcome:
    return ToolOutcome(text=json_text(value))
