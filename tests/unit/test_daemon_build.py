"""A daemon is built before its event loop runs: nothing in it may need one."""

import pytest
from support.in_process import settings
from support.mcp_servers import program_settings
from support.providers import catalog, scripted

from chatd.daemon import Daemon

ENDPOINT = {
    "description": "Pay.",
    "url": "http://127.0.0.1:9/pay",
    "parameters": {"type": "object"},
}


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"http_tools": {"pay": ENDPOINT}},
        {"mcp": {"program": program_settings()}},
        {"mcp": {"address": {"url": "http://127.0.0.1:9/mcp"}}},
    ],
    ids=["no tools", "HTTP tool", "MCP program", "MCP address"],
)
def test_daemon_is_built_without_an_event_loop(sections: dict[str, dict[str, object]]) -> None:
    of_nowhere = settings("postgresql://127.0.0.1:9/none", **sections)
    assert Daemon(of_nowhere, catalog=catalog(scripted()), handle_signals=False).services
