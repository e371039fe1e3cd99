"""The list of adapters: each a name of the settings and the function that builds it."""

from collections.abc import Callable, Mapping
from typing import Final

from chatd.adapters import responses
from chatd.adapters.ai_sdk import routes as ai_sdk
from chatd.adapters.completions import adapter as completions
from chatd.adapters.config import AdapterConfig
from chatd.api.adapter import Adapter

_ADAPTERS: Final[Mapping[str, Callable[[AdapterConfig], Adapter]]] = {
    "ai_sdk": ai_sdk.build,
    "completions": completions.build,
    "responses": responses.build,
}
"""Constructors by the name that ``[adapters] enabled`` has for each."""


def build_adapters(config: AdapterConfig) -> list[Adapter]:
    """Build the adapters that the configuration names. A name without one is left out."""
    names = dict.fromkeys(config.enabled)
    return [_ADAPTERS[name](config) for name in names if name in _ADAPTERS]
