"""Client of chatd for the scenarios of ``@modelcontextprotocol/conformance``, run as a module with a URL.

It connects as chatd does, lists the tools, and calls each with a value of its type for each parameter. What
a tool asks a person is answered in the same way.
"""

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio

from chatd.domain.question import MAX_QUESTIONS
from chatd.tools.mcp.config import ClientCredentials, HttpEndpoint
from chatd.tools.mcp.server import McpServer
from chatd.tools.tool import GivenInput
from support.mcp_servers import config, running

VALUES: dict[str, Any] = {"number": 2, "integer": 2, "string": "x", "boolean": True}


def credentials(url: str) -> ClientCredentials | None:
    """Return the credentials of the scenario. Its authorization server is the one that the server names."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    if "client_id" not in context or not {"client_secret", "private_key_pem"} & context.keys():
        return None
    parts = urlsplit(url)
    described = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path}"
    with urllib.request.urlopen(described) as response:
        issuer = json.load(response)["authorization_servers"][0]
    return ClientCredentials(
        client_id=context["client_id"],
        secret=context.get("client_secret", ""),
        private_key=context.get("private_key_pem", ""),
        issuer=issuer,
    )


def values(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for each field of an object."""
    fields = schema.get("properties", {})
    return {name: VALUES.get(field.get("type", "string"), "x") for name, field in fields.items()}


async def main(url: str) -> int:
    endpoint = HttpEndpoint(url=url, credentials=credentials(url))
    async with running(McpServer(config(endpoint))) as server:
        tools = (await server.tools()).tools
        for tool in tools:
            args = values(tool.parameters)
            result = await server.call(tool.name, args, seconds=20)
            for _ in range(MAX_QUESTIONS):
                if result.needs is None:
                    break
                content = values(result.needs.question.schema or {})
                given = GivenInput(
                    continuation=result.needs.continuation, decision="accept", content=content
                )
                result = await server.call(tool.name, args, seconds=20, given=given)
            sys.stdout.write(f"{tool.name}: {result}\n")
    if server.absence:
        sys.stdout.write(f"{server.absence}\n")
    return 0 if tools or not server.absence else 1


if __name__ == "__main__":
    sys.exit(anyio.run(main, sys.argv[-1]))
