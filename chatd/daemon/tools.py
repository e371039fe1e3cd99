"""The server's tools, built from the settings."""

from chatd.domain.tool_call import CallPolicy
from chatd.settings import Settings
from chatd.tools.http.client import ToolHttpClient
from chatd.tools.http.tool import HttpToolConfig, http_tool
from chatd.tools.registry import ToolRegistry


def tools_from_settings(settings: Settings, client: ToolHttpClient) -> ToolRegistry:
    """Return the configured tools, with their secrets in clear text. Their endpoints share ``client``."""
    return ToolRegistry(
        http_tool(
            HttpToolConfig(
                name=name,
                description=tool.description,
                method=tool.method,
                url=tool.url,
                parameters=tool.parameters,
                headers={key: value.get_secret_value() for key, value in tool.headers.items()},
                policy=CallPolicy(tool.policy),
                timeout_seconds=tool.timeout_seconds or settings.tools.timeout_seconds,
            ),
            client,
        )
        for name, tool in settings.http_tools.items()
    )
