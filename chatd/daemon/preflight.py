"""A start as far as it goes without connecting to anything: what it would refuse is known beforehand."""

import anyio

from chatd.daemon.services import catalog_from_settings
from chatd.llm.errors import ProviderConfigError
from chatd.settings import Settings
from chatd.supervision.child import FatalError


def preflight_checks(settings: Settings) -> list[str]:
    """Why ``run`` would not start with these settings, as far as it is known here: ``key: finish_reason``."""
    refused = []
    try:
        catalog_from_settings(settings)
    except ProviderConfigError as error:
        refused.append(str(error))
    if settings.auth.mode == "jwt" and settings.auth.jwks:
        from chatd.api.auth.jwks import JwksClient  # noqa: PLC0415 (only this mode pays for cryptography)

        try:
            anyio.run(JwksClient(settings.auth.jwks).check_readable)
        except FatalError as error:
            refused.append(str(error))
    return refused
