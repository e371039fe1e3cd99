"""The tools of a run: their names and policies, and what an answer of the model calls."""

import json
import random
import re
from typing import Any

from chatd.domain.tool_choice import ASK_USER_TOOL, READ_RESULT_TOOL

CLIENT_TOOL = "look_up"
"""The tool that clients run."""
HTTP_POLICIES = {"append": "at_most_once", "pay": "at_most_once", "read": "idempotent"}
"""The HTTP tools, and their policies."""
MCP_HTTP, MCP_STDIO = "desk", "shop"
"""The MCP servers: one at an address, and a program that each replica starts."""
MCP_TOOLS = {"append": "at_most_once", "read": "idempotent"}
"""The tools of each MCP server, and their policies."""
POLICIES = HTTP_POLICIES | {
    f"{server}__{tool}": policy
    for server in (MCP_HTTP, MCP_STDIO)
    for tool, policy in MCP_TOOLS.items()
}
"""The tools that have effects, and their policies."""
HOWS = {"quick": 6, "slow": 3, "streams": 2, "large": 2, "fails": 1, "drops": 1, "never": 1}
"""How such a tool is to behave, by weight."""
LARGE_BYTES = 200_000
"""Size of the answer of a tool that is to be large, after its own text."""
_CALLS = {
    "append": 4.0,
    "pay": 2.0,
    "read": 4.0,
    **dict.fromkeys((f"{server}__append" for server in (MCP_HTTP, MCP_STDIO)), 2.5),
    **dict.fromkeys((f"{server}__read" for server in (MCP_HTTP, MCP_STDIO)), 1.0),
    CLIENT_TOOL: 0.8,
    ASK_USER_TOOL: 0.8,
    "no_such_tool": 0.4,
}
"""What an answer with server tools calls, by weight."""
_READS = 0.8
"""Share of the answers that read on in a result that was cut, where there is one."""
_COLORS = ["red", "green", "blue"]
_CUT = re.compile(rf'{READ_RESULT_TOOL} reads this result, tool_call_id "(\w+)", offset (\d+)')
"""What a result says that was cut."""

Call = tuple[str, str]
"""A name and its arguments."""


def server_of(tool: str) -> str | None:
    """Return the MCP server of a tool, None if it has none."""
    server, separator, _ = tool.partition("__")
    return server if separator else None


def chosen_calls(number: int, name: str, choose: random.Random) -> list[Call]:
    """Return calls of some tools for the ``number``-th answer, which answers the message ``name``."""
    count = choose.choice([1, 2, 3, 3, 6])
    names = choose.choices(list(_CALLS), list(_CALLS.values()), k=count)
    return [_call(tool, number, index, name, choose) for index, tool in enumerate(names)]


def client_call(number: int, name: str) -> Call:
    """Return a call of the tool that clients run."""
    return CLIENT_TOOL, json.dumps({"call": number, "asked": name, "how": "quick"})


def reading_calls(results: list[str], choose: random.Random) -> list[Call]:
    """Return a call that reads on in one of the results of tools that were cut, or none."""
    cut = [match for text in results if (match := _CUT.search(text))]
    if not cut or choose.random() > _READS:
        return []
    call_id, offset = choose.choice(cut).groups()
    start = choose.choice([int(offset), choose.randrange(LARGE_BYTES), choose.randrange(2**31)])
    args: dict[str, Any] = {"tool_call_id": call_id, "offset": start}
    if choose.random() < 0.5:
        args["limit"] = choose.randint(1, 5000)
    return [(READ_RESULT_TOOL, json.dumps(args))]


def _call(tool: str, number: int, index: int, name: str, choose: random.Random) -> Call:
    if tool == ASK_USER_TOOL:
        args: dict[str, Any] = {"question": f"Which one for {name}, {number}.{index}?"}
        if choose.random() < 0.5:
            args["options"] = _COLORS
        return tool, json.dumps(args)
    [how] = choose.choices(list(HOWS), list(HOWS.values()))
    args = {"call": number, "asked": name, "how": how}
    if server_of(tool):
        args["id"] = call_id_of(number, index)  # MCP has no key of a call
    return tool, json.dumps(args)


def call_id_of(number: int, index: int) -> str:
    """Return the id of the call at a place of an answer, unlike that of every other call."""
    return f"call_{number}_{index}"
