"""The server's tools, built from the settings."""

from chatd.domain.permission import ConfiguredPermissions, Permission, ToolRule
from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_choice import ASK_USER_TOOL
from chatd.settings import Settings
from chatd.settings.mcp import McpServerSettings
from chatd.settings.tools import ToolsSettings
from chatd.tools.http.client import ToolHttpClient
from chatd.tools.http.tool import HttpToolConfig, http_tool
from chatd.tools.mcp.config import ClientCredentials, HttpEndpoint, McpServerConfig, StdioEndpoint
from chatd.tools.questions import ask_user_tool
from chatd.tools.registry import ToolRegistry


def tools_from_settings(settings: Settings, client: ToolHttpClient) -> ToolRegistry:
    """Return the configured tools, with their secrets in clear text. Their endpoints share ``client``."""
    tools = [
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
                default=tool.default,
                permission=_permission(tool.permission),
                result_url=tool.result_url,
                read_only=tool.method == "GET" if tool.read_only is None else tool.read_only,
            ),
            client,
        )
        for name, tool in settings.http_tools.items()
    ]
    tools += [_BUILTIN[name]() for name in dict.fromkeys(settings.tools.builtin)]
    return ToolRegistry(tools, _configured_permissions(settings.tools))


_BUILTIN = {ASK_USER_TOOL: ask_user_tool}


def _configured_permissions(tools: ToolsSettings) -> ConfiguredPermissions:
    return ConfiguredPermissions(
        default=Permission(tools.permission),
        rules=tuple(ToolRule(name, Permission(word)) for name, word in tools.rules.items()),
    )


def _permission(word: str | None) -> Permission | None:
    return None if word is None else Permission(word)


def mcp_servers_from_settings(settings: Settings) -> list[McpServerConfig]:
    """Return the configured MCP servers, with their secrets in clear text."""
    return [_mcp_server(name, server) for name, server in settings.mcp.items()]


def _mcp_server(name: str, server: McpServerSettings) -> McpServerConfig:
    endpoint: StdioEndpoint | HttpEndpoint
    if server.command is not None:
        env = {key: value.get_secret_value() for key, value in server.env.items()}
        endpoint = StdioEndpoint(command=server.command, args=tuple(server.args), env=env)
    else:
        headers = {key: value.get_secret_value() for key, value in server.headers.items()}
        endpoint = HttpEndpoint(
            url=server.url or "", headers=headers, credentials=_credentials(server)
        )
    return McpServerConfig(
        name=name,
        endpoint=endpoint,
        default=server.default,
        tools=tuple(server.tools),
        idempotent=tuple(server.idempotent),
        read_only=tuple(server.read_only),
        trust_hints=server.trust_hints,
        permission=_permission(server.permission),
        max_tools=server.max_tools,
        connect_seconds=server.connect_seconds,
        call_seconds=server.call_seconds,
        max_calls=server.max_calls,
        idle_seconds=server.idle_seconds,
    )


def _credentials(server: McpServerSettings) -> ClientCredentials | None:
    if server.oauth_client_id is None:
        return None
    secret, key = server.oauth_client_secret, server.oauth_private_key
    return ClientCredentials(
        client_id=server.oauth_client_id,
        issuer=server.oauth_issuer or "",
        secret=secret.get_secret_value() if secret else "",
        private_key=key.get_secret_value() if key else "",
        scope=server.oauth_scope,
    )
