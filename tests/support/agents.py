"""Scripts of models that start other chats, and what they read of them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

ENABLED: Mapping[str, Any] = {"agents": {"enabled": True}}

Step = Mapping[str, Any]


def call(tool: str, number: int, name: str = "", /, **args: Any) -> Step:
    """Return a call of a tool at the model call of this number."""
    return {
        "tool_call": {"name": tool, "id": name or f"{tool}{number}", "args": args},
        "calls": [number],
    }


def spawn(number: int, name: str, prompt: str, **args: Any) -> Step:
    """Return a call that starts an agent. Later calls know it by its name."""
    return call("spawn_agent", number, name, prompt=prompt, name=name, **args)


def wait(number: int, *names: str, **args: Any) -> Step:
    """Return a call that waits for agents that were started before."""
    ids = [id_of(name) for name in names]
    return call("wait_agent", number, ids=ids, **args)


def id_of(name: str) -> str:
    """Return the placeholder of the id of an agent."""
    return f"{{result:{name}:id}}"


def say(number: int, text: str) -> Step:
    return {"text": text, "calls": [number]}


def results(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the results of tools in a history, by the ids of their calls, as JSON if they are."""
    return {
        part["tool_call_id"]: _json(part["result"])
        for message in messages
        for part in message["content"]
        if part["type"] == "tool-result"
    }


def _json(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
