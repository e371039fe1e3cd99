"""Catalog: the configured models and their providers, built from plain values.

A catalog is built at the start and again at each reload. It owns its providers, and ``aclose`` closes their
connections.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

import anyio
import structlog

from chatd.domain.errors import ModelNotFound
from chatd.llm.context_window import ContextWindow
from chatd.llm.errors import ProviderConfigError
from chatd.llm.model_facts import ContextLimitSource, ModelName, known_context_limits
from chatd.llm.native_tools import NativeTool
from chatd.llm.provider import Provider
from chatd.llm.scripted.provider import ScriptedProvider
from chatd.llm.scripted.script import DEFAULT_SCRIPT, parse_script
from chatd.llm.vendors import PROVIDER_KINDS
from chatd.llm.vendors.pydantic_ai import PydanticAIProvider

_log = structlog.get_logger()

_CLOSE_SECONDS = 2.0
"""Time for closing one provider, so that one that hangs does not keep the others open."""

MODEL_ID_NAMESPACE = UUID("5b1f2c54-6a0b-5c7e-9d0e-3f6f8a4b2c11")
"""Namespace in which ids of models are derived from their names. Never change it: chats refer to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Configuration of one model. ``name`` is chosen here, ``model`` is the provider's name of it."""

    name: str
    provider: str
    model: str
    context_limit: int | None = None
    """Tokens that fit into one call, request and response together. None: that is not known."""
    context_limit_source: ContextLimitSource | None = None
    max_output_tokens: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Passed to the provider unchanged, such as ``temperature``."""
    native_tools: Sequence[NativeTool] = ()
    """The tools that the provider runs itself while this model answers."""
    title_model: str | None = None
    """Name of the model that writes the titles of this one's chats. None: none does."""
    compaction_percent: int = 80
    """Share of its window up to which chats fill it. 0: they are compacted only on request."""
    compaction_model: str | None = None
    """Name of the model that writes the summaries. None: the model itself."""
    default: bool = False

    id: UUID = field(init=False)
    """Derived from the name: the same in every process and for ever."""
    window: ContextWindow | None = field(init=False)
    """None: the size of its context is not known."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", uuid5(MODEL_ID_NAMESPACE, self.name))
        window = None
        if self.context_limit is not None:
            window = ContextWindow.of(
                self.context_limit,
                max_output_tokens=self.max_output_tokens,
                percent=self.compaction_percent,
            )
        object.__setattr__(self, "window", window)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """Configuration of one provider. ``script`` and ``scripts`` are for kind ``scripted``."""

    name: str
    kind: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    script: Sequence[Mapping[str, Any]] | None = None
    scripts: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


class Catalog:
    """Models, each with its provider."""

    def __init__(
        self,
        *,
        models: Iterable[ModelConfig],
        providers: Mapping[str, Provider],
        endpoints: Mapping[str, ProviderConfig] | None = None,
    ) -> None:
        self._models = {model.name: model for model in models}
        self._endpoints = endpoints or {}
        self._ids = {model.id: model for model in self._models.values()}
        self._providers = dict(providers)
        for model in self._models.values():
            if model.provider not in self._providers:
                known = ", ".join(sorted(self._providers)) or "none"
                problem = f"there is no provider {model.provider!r}; configured: {known}"
                raise ProviderConfigError(f"models.{model.name}.provider", problem)
            if model.title_model is not None and model.title_model not in self._models:
                problem = f"there is no model {model.title_model!r}; configured: {', '.join(self._models)}"
                raise ProviderConfigError(f"models.{model.name}.title_model", problem)
            if model.compaction_model not in {None, *self._models}:
                problem = f"there is no model {model.compaction_model!r}"
                raise ProviderConfigError(f"models.{model.name}.compaction_model", problem)
        self._default = _default_model(self._models.values())
        self._use_count = 0
        self._unused: anyio.Event | None = None

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """All models, in the order of the configuration."""
        return tuple(self._models.values())

    @property
    def default(self) -> ModelConfig:
        """The model of a chat that names none."""
        return self._default

    def by_name(self, name: str) -> ModelConfig:
        """Return the model with this name. Raise ``ModelNotFound``."""
        if (model := self._models.get(name)) is None:
            raise ModelNotFound(f"There is no model {name!r}.", name=name)
        return model

    def by_id(self, model_id: UUID) -> ModelConfig:
        """Return the model with this id. Raise ``ModelNotFound``, also for a model that was removed."""
        if (model := self._ids.get(model_id)) is None:
            raise ModelNotFound(f"There is no model {model_id}.", model_id=model_id)
        return model

    def provider_of(self, model: ModelConfig) -> Provider:
        """Return the provider that serves ``model``."""
        return self._providers[model.provider]

    async def warm(self) -> None:
        """Warm up every provider that has a model (``Provider.warm``), and look up facts about models."""
        for name in {model.provider for model in self._models.values()}:
            await self._providers[name].warm()
        await self._load_context_limits()

    async def _load_context_limits(self) -> None:
        unknown = [
            ModelName(model.name, model.model, endpoint.kind, endpoint.base_url)
            for model in self._models.values()
            if model.context_limit is None and (endpoint := self._endpoints.get(model.provider))
        ]
        for name, limit in (await known_context_limits(unknown)).items():
            known = replace(
                self._models[name],
                context_limit=limit,
                context_limit_source=ContextLimitSource.PRICE_LIST,
            )
            self._models[name] = self._ids[known.id] = known
            if self._default.name == name:
                self._default = known

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the connections of the providers open while the body may call them."""
        self._use_count += 1
        try:
            yield
        finally:
            self._use_count -= 1
            if self._unused is not None and self._use_count == 0:
                self._unused.set()

    async def retire(self) -> None:
        """Close the providers once no ``in_use`` body runs any more, or at once when cancelled."""
        try:
            if self._use_count:
                self._unused = anyio.Event()
                await self._unused.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self.aclose()
        _log.info("config.old_providers_closed", providers=sorted(self._providers))

    async def aclose(self) -> None:
        """Close the connections of all providers. One that cannot be closed is logged and left."""
        for name, provider in self._providers.items():
            try:
                with anyio.fail_after(_CLOSE_SECONDS):
                    await provider.aclose()
            except Exception as error:  # noqa: BLE001 - a library's, and nothing depends on it any more
                _log.warning("provider.close_failed", provider=name, exc_info=error)


def build_catalog(*, providers: Iterable[ProviderConfig], models: Iterable[ModelConfig]) -> Catalog:
    """Build the providers and the catalog. Raise ``ProviderConfigError``, which names the key."""
    configs, models = {config.name: config for config in providers}, tuple(models)
    built = {name: _build_provider(config) for name, config in configs.items()}
    catalog = Catalog(models=models, providers=built, endpoints=configs)
    for model in models:
        kind = PROVIDER_KINDS[configs[model.provider].kind]
        for problem in filter(None, map(kind.native_tool_problem, model.native_tools)):
            raise ProviderConfigError(f"models.{model.name}.native_tools", problem)
    return catalog


def _default_model(models: Iterable[ModelConfig]) -> ModelConfig:
    candidates = list(models)
    marked = [model for model in candidates if model.default]
    match candidates, marked:
        case [], _:
            raise ProviderConfigError("models", "configure at least one model")
        case ([only], []) | (_, [only]):
            return only
        case _, []:
            names = ", ".join(model.name for model in candidates)
            raise ProviderConfigError("models", f"set default = true for one of {names}")
        case _:
            names = " and ".join(model.name for model in marked)
            raise ProviderConfigError(
                f"models.{marked[1].name}.default", f"{names} are both the default"
            )


def _build_provider(config: ProviderConfig) -> Provider:
    kind = PROVIDER_KINDS.get(config.kind)
    if kind is None:
        problem = f"{config.kind!r} is none of {', '.join(PROVIDER_KINDS)}"
        raise ProviderConfigError(f"providers.{config.name}.kind", problem)
    for key, reason in kind.violations(
        base_url=config.base_url,
        api_key=config.api_key,
        script=config.script,
        scripts=config.scripts,
    ):
        raise ProviderConfigError(f"providers.{config.name}.{key}", reason)
    if kind.connector is None:
        return _build_scripted_provider(config)
    return PydanticAIProvider(
        name=config.name,
        kind=config.kind,
        base_url=config.base_url,
        api_key=config.api_key,
        headers=config.headers,
    )


def _build_scripted_provider(config: ProviderConfig) -> Provider:
    key = f"providers.{config.name}"
    script = (
        DEFAULT_SCRIPT
        if config.script is None
        else parse_script(config.script, key=f"{key}.script")
    )
    return ScriptedProvider(
        name=config.name,
        script=script,
        scripts={
            name: parse_script(steps, key=f"{key}.scripts.{name}")
            for name, steps in config.scripts.items()
        },
    )
