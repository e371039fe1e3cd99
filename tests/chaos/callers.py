"""Clients that do everything the API allows with chats of their own, legal just now or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from chaos.answers import answer_to
from chaos.families import WISH
from chaos.offered_tools import CLIENT_TOOL, HTTP_POLICIES, MCP_HTTP, MCP_STDIO
from chaos.records import Request
from chaos.requests import Requester

_THINK_SECONDS = 1.2
WISHES = {"": 5, " [tool]": 2, " [long]": 2, " [server]": 5, f" {WISH}": 2}
"""What a message asks the model for, by weight: a call of the client's tool, a long answer, calls of server
tools, agents."""
_OPERATIONS_OF_A_CHAT = (4, 14)
_FOLLOWED_FORKS = 0.7
"""Share of forks that their client goes on with."""
_TOOLS = [{"name": CLIENT_TOOL, "description": "Look it up.", "parameters": {"type": "object"}}]

Chat = dict[str, Any]


class Caller:
    """A client with one chat at a time, which it leaves when it is idle."""

    def __init__(self, requester: Requester, follow: Callable[[str], Awaitable[Any]]) -> None:
        self._requests = requester
        self._random = requester.random
        self._follow = follow
        self._forks: list[str] = []
        """Forks of chats of this client, which it goes on with."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Make one chat after the other until the run stops."""
        while not stopping.is_set():
            chat_id = self._forks.pop() if self._forks else await self._create()
            if chat_id is None:
                continue
            leave = await self._follow(chat_id)
            for _ in range(self._random.randint(*_OPERATIONS_OF_A_CHAT)):
                await asyncio.sleep(self._random.expovariate(1 / _THINK_SECONDS))
                if stopping.is_set() or not await self._operate(chat_id):
                    break
            if await self._idle(chat_id, stopping):
                await leave()

    async def _create(self) -> str | None:
        """Make a chat, and return its id. None: it was refused."""
        body: dict[str, Any] = {"title": self._requests.next_text()}
        text = None
        if self._random.random() < 0.8:
            body["content"] = text = self._text()
        if self._random.random() < 0.6:
            body["tools"] = _TOOLS
        if self._random.random() < 0.3:
            body["server_tools"] = self._chosen_tools()
        if self._random.random() < 0.2:
            body["permission_mode"] = self._random.choice(["ask", "ask", "read_only"])
        if self._random.random() < 0.1:
            body["tool_rules"] = [{"tools": "app*", "permission": "deny"}]
        if self._random.random() < 0.3:
            body["system_prompt"] = "Be brief."
        created = await self._requests.change("create", "POST", "/chats", body, text=text)
        return created.response["id"] if created.accepted else None

    def _chosen_tools(self) -> dict[str, list[str]]:
        """Return a choice of some HTTP tools, and now and then of MCP servers and built-in tools."""
        names, servers = sorted(HTTP_POLICIES), [MCP_HTTP, MCP_STDIO]
        chosen = {"http": self._random.sample(names, self._random.randrange(3))}
        if self._random.random() < 0.5:
            chosen["mcp"] = self._random.sample(servers, self._random.randrange(3))
        if self._random.random() < 0.2:
            chosen["builtin"] = []
        return chosen

    def _text(self) -> str:
        """Return a message, with wishes for the model now and then."""
        [wish] = self._random.choices(list(WISHES), list(WISHES.values()))
        return self._requests.next_text(wishes=wish)

    async def _operate(self, chat_id: str) -> bool:
        """Do one thing. Return False once the chat is deleted."""
        operations: dict[Callable[[str], Awaitable[object]], float] = {
            self._send: 8,
            self._answer: 14,
            self._interrupt: 3,
            self._edit: 2,
            self._regenerate: 1.5,
            self._fork: 1,
            self._retry: 1.5,
            self._promote: 1.5,
            self._remove: 1.5,
            self._describe: 1,
            self._clear: 0.5,
            self._compact: 1,
            self._archive: 0.5,
        }
        if self._random.random() < 0.01:
            await self._change("delete", "DELETE", chat_id, "")
            return False
        operation = self._random.choices(list(operations), list(operations.values()))[0]
        await operation(chat_id)
        return True

    async def _change(
        self, operation: str, method: str, chat_id: str, path: str, body: Any = None, **more: Any
    ) -> Request:
        return await self._requests.change(
            operation, method, f"/chats/{chat_id}{path}", body, chat_id=chat_id, **more
        )

    async def _send(self, chat_id: str) -> None:
        busy = self._random.choice(["queue", "queue", "interrupt", "reject"])
        text = self._text()
        body = {"content": text, "busy_behavior": busy}
        await self._change(f"send ({busy})", "POST", chat_id, "/messages", body, text=text)

    async def _interrupt(self, chat_id: str) -> None:
        await self._change("interrupt", "POST", chat_id, "/interrupt")

    async def _retry(self, chat_id: str) -> None:
        await self._change("retry", "POST", chat_id, "/retry")

    async def _clear(self, chat_id: str) -> None:
        await self._change("clear", "POST", chat_id, "/clear")

    async def _compact(self, chat_id: str) -> None:
        body = {"instructions": "Keep the names."} if self._random.random() < 0.3 else {}
        await self._change("compact", "POST", chat_id, "/compact", body)

    async def _describe(self, chat_id: str) -> None:
        body = {"title": self._requests.next_text(), "labels": {"n": self._requests.next_text()}}
        await self._change("describe", "PATCH", chat_id, "", body)

    async def _archive(self, chat_id: str) -> None:
        await self._change("archive", "PATCH", chat_id, "", {"archived": True})
        await asyncio.sleep(self._random.expovariate(1 / _THINK_SECONDS))
        await self._change("unarchive", "PATCH", chat_id, "", {"archived": False})

    async def _edit(self, chat_id: str) -> None:
        messages = [m for m in await self._messages(chat_id) if m["role"] == "user"]
        if messages:
            text, edited = self._text(), self._random.choice(messages)["id"]
            path = f"/messages/{edited}"
            await self._change("edit", "PATCH", chat_id, path, {"content": text}, text=text)

    async def _regenerate(self, chat_id: str) -> None:
        if messages := await self._messages(chat_id):
            path = f"/messages/{self._random.choice(messages)['id']}/regenerate"
            await self._change("regenerate", "POST", chat_id, path)

    async def _fork(self, chat_id: str) -> None:
        """Fork the chat, whole or up to a message. The fork is one of the next chats of this client."""
        body = {}
        if self._random.random() < 0.6 and (messages := await self._messages(chat_id)):
            body = {"from_message_id": self._random.choice(messages)["id"]}
        made = await self._change("fork", "POST", chat_id, "/fork", body)
        if made.accepted and self._random.random() < _FOLLOWED_FORKS:
            self._forks.append(made.response["id"])

    async def _queued(self, chat_id: str) -> int | None:
        found = await self._requests.read(f"/chats/{chat_id}/queue")
        return self._random.choice(found["items"])["id"] if found and found["items"] else None

    async def _promote(self, chat_id: str) -> None:
        if (queued := await self._queued(chat_id)) is not None:
            await self._change("promote", "POST", chat_id, f"/queue/{queued}/promote")

    async def _remove(self, chat_id: str) -> None:
        if (queued := await self._queued(chat_id)) is not None:
            await self._change("remove_queued", "DELETE", chat_id, f"/queue/{queued}")

    async def _answer(self, chat_id: str) -> None:
        """Answer what the chat asks, in part or whole, and now and then twice at once and differently."""
        chat = await self._requests.read(f"/chats/{chat_id}")
        actions = (chat and chat["actions"]) or []
        if self._random.random() < 0.3:
            actions = actions[: self._random.randint(1, 2)]
        if not actions:
            return
        if all(action["kind"] == "result" for action in actions) and self._random.random() < 0.5:
            await self._submit(chat_id, actions)
            return
        async with asyncio.TaskGroup() as group:
            for _ in range(self._random.choice([1, 1, 2, 3])):
                body = {"answers": [answer_to(action, self._random) for action in actions]}
                group.create_task(self._change("answer", "POST", chat_id, "/actions", body))

    async def _submit(self, chat_id: str, actions: list[dict[str, Any]]) -> None:
        results = [{"tool_call_id": each["tool_call_id"], "result": "found"} for each in actions]
        path = "/tool-results"
        await self._change("submit_tool_results", "POST", chat_id, path, {"results": results})

    async def _messages(self, chat_id: str) -> list[dict[str, Any]]:
        found = await self._requests.read(f"/chats/{chat_id}/messages", limit=200)
        return list(found["items"]) if found else []

    async def _idle(self, chat_id: str, stopping: asyncio.Event) -> bool:
        """Return True once the chat is idle, or False when the run stops before."""
        while not stopping.is_set():
            if await self._is_idle(chat_id):
                return True
            await asyncio.sleep(_THINK_SECONDS / 2)
        return False

    async def _is_idle(self, chat_id: str) -> bool:
        """Return whether the chat is idle, and do what it waits for."""
        chat = await self._requests.read(f"/chats/{chat_id}")
        if chat is None or chat["status"] == "waiting":
            return True
        if chat["status"] == "error":
            if self._random.random() < 0.5:
                return True
            await self._retry(chat_id)
        elif chat["status"] == "requires_action" and self._random.random() < 0.8:
            await self._answer(chat_id)
        return False
