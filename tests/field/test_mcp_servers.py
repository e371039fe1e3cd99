"""MCP servers and scenarios for MCP clients that nobody here wrote, run by Node."""

import json
import os
import shutil
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
from support.child_process import child_process
from support.client_tools import calling_provider, results_in
from support.eventually import TIMEOUT_SECONDS
from support.in_process import running_daemon
from support.providers import tool_call_delta

TESTS = Path(__file__).parents[1]
PROGRAMS = TESTS / "field" / "mcp" / "node_modules" / ".bin"
pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and PROGRAMS.exists()),
    reason="they need node, and their packages: (cd tests/field/mcp && npm ci)",
)


def server(name: str) -> dict[str, Any]:
    """Return the settings of a server, with time to start on a busy machine."""
    return {"command": str(PROGRAMS / name), "connect_seconds": 30.0}


async def test_servers_for_node_answer_calls(dsn: str, tmp_path: Path) -> None:
    entity = {"name": "Ada", "entityType": "person", "observations": ["counts"]}
    provider = calling_provider(
        [
            tool_call_delta("memory__create_entities", "c1", json.dumps({"entities": [entity]})),
            tool_call_delta("everything__echo", "c2", '{"message": "hello"}', 1),
        ],
        [tool_call_delta("memory__search_nodes", "c3", '{"query": "ada"}')],
    )
    memory = {**server("mcp-server-memory"), "env": {"MEMORY_FILE_PATH": str(tmp_path / "memory")}}
    mcp = {"everything": server("mcp-server-everything"), "memory": memory}
    async with running_daemon(dsn, provider, mcp=mcp) as chatd:
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting", timeout_seconds=60)
        created, echoed, found = results_in(provider.requests[-1])
    assert [result[2] for result in (created, echoed, found)] == [False, False, False]
    assert "hello" in echoed[1]
    assert "counts" in found[1]


@pytest.mark.parametrize(
    "scenario",
    [
        "tools_call",
        "sse-retry",
        "auth/client-credentials-basic",
        "auth/client-credentials-jwt",
    ],
)
def test_client_passes_a_scenario_of_the_conformance_suite(scenario: str) -> None:
    client = f"{sys.executable} -m support.mcp_conformance_client"
    command = [PROGRAMS / "conformance", "client", "--command", client, "--scenario", scenario]
    environment = {**os.environ, "PYTHONPATH": "."}
    with child_process(
        command, cwd=TESTS, env=environment, stdout=PIPE, stderr=STDOUT, text=True
    ) as process:
        output, _ = process.communicate(timeout=2 * TIMEOUT_SECONDS)
    assert process.returncode == 0, output
