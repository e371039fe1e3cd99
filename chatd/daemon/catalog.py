"""The catalog of models, built from the settings."""

from chatd.llm.catalog import Catalog, ModelConfig, ProviderConfig, build_catalog
from chatd.llm.model_facts import ContextLimitSource
from chatd.llm.native_tools import NativeTool
from chatd.settings import ModelSettings, ProviderSettings, Settings
from chatd.settings.models import NativeToolSettings


def catalog_from_settings(settings: Settings) -> Catalog:
    """Return the configured models and their providers. Raises ``ProviderConfigError``."""
    return build_catalog(
        providers=provider_configs(settings.providers), models=model_configs(settings.models)
    )


def provider_configs(providers: dict[str, ProviderSettings]) -> list[ProviderConfig]:
    """Return the configured providers, with their secrets in clear text."""
    return [
        ProviderConfig(
            name=name,
            kind=provider.kind,
            base_url=provider.base_url,
            api_key=provider.api_key.get_secret_value() if provider.api_key else None,
            headers={key: value.get_secret_value() for key, value in provider.headers.items()},
            script=provider.script,
            scripts=provider.scripts,
        )
        for name, provider in providers.items()
    ]


def model_configs(models: dict[str, ModelSettings]) -> list[ModelConfig]:
    """Return the configured models."""
    return [
        ModelConfig(
            name=name,
            provider=model.provider,
            model=model.model,
            context_limit=model.context_limit,
            context_limit_source=(
                None if model.context_limit is None else ContextLimitSource.CONFIGURATION
            ),
            compaction_percent=model.compaction_percent,
            compaction_model=model.compaction_model,
            max_output_tokens=model.max_output_tokens,
            settings=model.settings,
            native_tools=[_native_tool(tool) for tool in model.native_tools],
            title_model=model.title_model,
            default=model.default,
        )
        for name, model in models.items()
    ]


def _native_tool(tool: NativeToolSettings) -> NativeTool:
    return NativeTool(kind=tool.kind, options=tool.model_dump(exclude={"kind"}, exclude_none=True))
