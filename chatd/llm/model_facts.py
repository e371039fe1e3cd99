"""Facts about models that the configuration leaves out, from the package ``genai-prices``.

The package has the context windows of a thousand models of the usual providers, in a file of its own, so
nothing is fetched. To import it takes 0.2 s and 31 MB. So that is done in a thread, once the providers are
warmed, and only if a model needs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module

import anyio.to_thread

from chatd.llm.vendors import PROVIDER_KINDS, SCRIPTED


class ContextLimitSource(StrEnum):
    """Source of a model's `context_limit`.

    * `configuration`: the key `context_limit` of the model.
    * `genai-prices`: the package of this name, which knows many models.
    """

    CONFIGURATION = "configuration"
    PRICE_LIST = "genai-prices"


@dataclass(frozen=True, slots=True)
class ModelName:
    """A configured model, and the provider's name of it with the kind and the address of that provider."""

    name: str
    model: str
    kind: str
    base_url: str | None


async def known_context_limits(models: Sequence[ModelName]) -> Mapping[str, int]:
    """Return the context limits of those models that the package knows, by their configured names."""
    asked = [model for model in models if model.kind != SCRIPTED]
    if not asked:
        return {}
    return await anyio.to_thread.run_sync(_look_up, asked, abandon_on_cancel=True)


def _look_up(models: Sequence[ModelName]) -> Mapping[str, int]:
    snapshot = import_module("genai_prices.data_snapshot").get_snapshot()
    limits: dict[str, int] = {}
    for model in models:
        address = model.base_url or PROVIDER_KINDS[model.kind].base_url
        provider_id = model.kind if address is None else None
        try:
            _, known = snapshot.find_provider_model(model.model, None, provider_id, address)
        except LookupError:
            continue
        if known.context_window:
            limits[model.name] = known.context_window
    return limits
