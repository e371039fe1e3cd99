"""Preflight checks for ``chatd config check``: what goes wrong at a start, without the network."""

import anyio

from chatd.daemon.catalog import catalog_from_settings
from chatd.daemon.mcp_check import mcp_problems
from chatd.llm.errors import ProviderConfigError
from chatd.settings import Settings
from chatd.supervision.child import FatalError


def preflight_checks(settings: Settings) -> list[str]:
    """Return why ``chatd run`` would not start with these settings, as ``key: reason``.

    An MCP server that cannot start is named too, although the process starts without its tools.
    """
    problems = []
    try:
        catalog_from_settings(settings)
    except ProviderConfigError as error:
        problems.append(str(error))
    problems += mcp_problems(settings)
    if settings.auth.mode == "jwt" and settings.auth.jwks:
        # Only this mode pays for importing cryptography.
        from chatd.api.auth.jwks import JwksClient  # noqa: PLC0415

        try:
            anyio.run(JwksClient(settings.auth.jwks).check_readable)
        except FatalError as error:
            problems.append(str(error))
    return problems
