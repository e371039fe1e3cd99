"""Tools that a client runs for its chats, and posts the results of."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup

from chatd.client.errors import ClientError, Conflict, InvalidRequest, NotFound
from chatd.client.events import ChatEvent
from chatd.client.tool_calls import ClientTool, ToolFunction, error_result
from chatd.client.transcript import Transcript
from chatd.client.types import Action, ActionRequiredData, Tool, ToolResultInput

if TYPE_CHECKING:
    from chatd.client.client import Client

_ANSWERED_CODES = frozenset({"tool_call_unknown", "tool_results_missing", "idempotency_key_reused"})
"""Refusals of results for calls that were answered already, by another client or in its place."""
_REPEAT_SECONDS = 1.0
"""Pause between attempts to post results, each of which is repeated by itself."""


class ClientTools:
    """Functions of this client that models call.

    The functions run side by side, at most ``max_parallel`` at once, each for ``timeout_seconds`` at most.
    Their results have ``max_result_bytes`` of JSON at most each. An exception, a late or a large result is
    a result with ``is_error``, which the model reads.

    The results of one answer of the model are posted together. If the client is restarted before, or if
    two clients run, a function may run twice, but each call gets one result. ``ToolCall.key`` is the same
    both times.

    Example::

        async def weather(call: ToolCall) -> object:
            return {"town": call.args["town"], "sunny": True}


        tools = ClientTools()
        tools.add("weather", weather, description="The weather of a town.", parameters=SCHEMA)
        chat = await client.chats.create("Is it sunny in Graz?", tools=tools.declarations)
        transcript = await tools.run(client, chat["id"])
    """

    def __init__(
        self,
        *,
        max_parallel: int = 8,
        timeout_seconds: float = 60.0,
        max_result_bytes: int = 256 * 1024,
    ) -> None:
        self._limiter = anyio.Semaphore(max_parallel)
        self._timeout_seconds = timeout_seconds
        self._max_result_bytes = max_result_bytes
        self._tools: dict[str, ClientTool] = {}

    def add(
        self,
        name: str,
        function: ToolFunction,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Register a function.

        Args:
            name: Name of the tool, as the model calls it.
            function: Coroutine function that is called with a ``ToolCall``. An interrupt cancels it.
            description: Purpose of the tool, for the model.
            parameters: JSON schema of the arguments, of type ``object``. Default: no arguments.
            timeout_seconds: Time limit of one call, instead of that of all tools.
        """
        schema = {"type": "object", "properties": {}} if parameters is None else {**parameters}
        self._tools[name] = ClientTool(
            declaration={"name": name, "description": description, "parameters": schema},
            function=function,
            timeout_seconds=timeout_seconds or self._timeout_seconds,
            max_result_bytes=self._max_result_bytes,
        )

    @property
    def declarations(self) -> list[Tool]:
        """Argument ``tools`` of ``Client.chats.create``."""
        return [tool.declaration for tool in self._tools.values()]

    async def run(
        self,
        client: "Client",
        chat_id: str,
        *,
        on_event: Callable[[ChatEvent, Transcript], None] | None = None,
        until_idle: bool = True,
    ) -> Transcript:
        """Follow a chat, run the calls that it waits for, and return its transcript when it is idle.

        An interrupt, an edit or the end of the chat's wait cancels the functions that run.

        Args:
            client: Client that follows the chat and posts the results.
            chat_id: Chat with these tools.
            on_event: Called with each event of the chat, and with the transcript that has applied it.
            until_idle: False: go on, for later messages, until the chat is deleted.
        """
        transcript = Transcript()
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as group:
                run = _Run(self._tools, self._limiter, client, chat_id, group)
                async with client.follow(chat_id) as events:
                    async for event in events:
                        transcript.apply(event)
                        if on_event is not None:
                            on_event(event, transcript)
                        run.update(transcript.action_required)
                        if until_idle and transcript.idle:
                            break
                group.cancel_scope.cancel()
        except ExceptionGroup as group_of_one:  # the first failure cancels the rest
            failure = group_of_one.exceptions[0]
        if failure is not None:
            raise failure
        return transcript


class _Run:
    """Calls that one chat waits for, run in a task that ends when it no longer waits for them."""

    def __init__(
        self,
        tools: Mapping[str, ClientTool],
        limiter: anyio.Semaphore,
        client: "Client",
        chat_id: str,
        group: TaskGroup,
    ) -> None:
        self._tools = tools
        self._limiter = limiter
        self._client = client
        self._chat_id = chat_id
        self._group = group
        self._key: str | None = None
        self._scope = anyio.CancelScope()

    def update(self, action: ActionRequiredData | None) -> None:
        """Start the calls that the chat waits for now, and cancel those that it no longer waits for."""
        calls = [call for call in action["calls"] if call["kind"] == "result"] if action else []
        key = _key(self._chat_id, calls[0]["expires_at"]) if calls else None
        if key == self._key:
            return
        self._scope.cancel()
        self._key, self._scope = key, anyio.CancelScope()
        if key is not None:
            self._group.start_soon(self._answer, calls, key, self._scope)

    async def _answer(self, calls: list[Action], key: str, scope: anyio.CancelScope) -> None:
        with scope:
            results = await self._run_calls(calls, key)
            try:
                await self._post(results, key)
            except InvalidRequest as error:  # such as too large together
                refused = f"The result could not be stored: {error}"
                texts = [error_result(one["tool_call_id"], refused) for one in results]
                await self._post(texts, key)

    async def _run_calls(self, calls: list[Action], key: str) -> list[ToolResultInput]:
        """Return the results of calls, in their order."""
        results: dict[int, ToolResultInput] = {}

        async def run_one(position: int, call: Action) -> None:
            call_id, tool = call["tool_call_id"], self._tools.get(call["tool_name"])
            if tool is None:
                text = f"This client has no tool named {call['tool_name']}."
                results[position] = error_result(call_id, text)
                return
            async with self._limiter:
                own_key = f"{key}-{call_id}"
                results[position] = await tool.run(call, chat_id=self._chat_id, key=own_key)

        async with anyio.create_task_group() as group:
            for position, call in enumerate(calls):
                group.start_soon(run_one, position, call)
        return [results[position] for position in range(len(calls))]

    async def _post(self, results: list[ToolResultInput], key: str) -> None:
        """Post results until the server answers. Those of answered calls change nothing."""
        while True:
            try:
                await self._client.submit_tool_results(self._chat_id, results, idempotency_key=key)
            except (Conflict, NotFound):
                return
            except InvalidRequest as error:
                if error.code not in _ANSWERED_CODES:
                    raise
            except ClientError as error:
                if not error.retryable:
                    raise
                await anyio.sleep(_REPEAT_SECONDS)
                continue
            return


def _key(chat_id: str, expires_at: str) -> str:
    """Return the idempotency key of the results that a chat waits for until then.

    Every client makes the same, also after a restart. So results that arrive late, when the chat already
    waits for other calls, are not taken for theirs, although models use the ids of their calls again.
    """
    return f"tool-results-{chat_id}-{expires_at}"
