"""The list of adapters: each a name of the settings, and the module whose ``build`` builds it."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

from chatd.adapters.config import AdapterConfig
from chatd.api.adapter import Adapter

_MODULES: Final[Mapping[str, str]] = {
    "ai_sdk": "chatd.adapters.ai_sdk.routes",
    "completions": "chatd.adapters.completions.adapter",
    "responses": "chatd.adapters.responses.adapter",
}
"""Modules by the name that ``[adapters] enabled`` has for each. Only what is enabled is imported."""


def build_adapters(config: AdapterConfig) -> list[Adapter]:
    """Build the adapters that the configuration names. A name without one is left out."""
    adapters: list[Adapter] = []
    for name in dict.fromkeys(config.enabled):
        if name in _MODULES:
            build: Callable[[AdapterConfig], Adapter] = import_module(_MODULES[name]).build
            adapters.append(build(config))
    return adapters
