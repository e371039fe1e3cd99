"""The catalog of models: look-ups, and rejection of invalid configurations."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from chatd.domain.errors import ModelNotFound
from chatd.llm.catalog import Catalog, ModelConfig, ProviderConfig, build_catalog
from chatd.llm.errors import ProviderConfigError
from chatd.llm.vendors.client import ProviderEndpoint
from chatd.llm.vendors.history_rules import CHAT_COMPLETIONS

FAKE = ProviderConfig(name="fake", kind="scripted")


def model(name: str, **more: Any) -> ModelConfig:
    return ModelConfig(**{"name": name, "provider": "fake", "model": "m1", **more})


def make(*models: ModelConfig, providers: tuple[ProviderConfig, ...] = (FAKE,)) -> Catalog:
    return build_catalog(providers=providers, models=models)


def test_model_is_found_by_name_and_by_id() -> None:
    catalog = make(model("a", default=True), model("b"))
    b = catalog.by_name("b")
    assert catalog.by_id(b.id) is b
    assert catalog.provider_of(b).name == "fake"
    assert [one.name for one in catalog.models] == ["a", "b"]
    assert catalog.default.name == "a"


def test_model_id_is_stable() -> None:
    """Chats in databases refer to it, so this value must never change."""
    assert model("a").id == UUID("5d9569ca-7952-5a51-8fda-78e1f3499684")
    assert model("a", model="other", provider="x").id == model("a").id


def test_unknown_model_is_not_found() -> None:
    catalog = make(model("a"))
    with pytest.raises(ModelNotFound, match="'z'"):
        catalog.by_name("z")
    with pytest.raises(ModelNotFound):
        catalog.by_id(uuid4())


def test_single_model_is_the_default() -> None:
    assert make(model("a")).default.name == "a"


OPENAI = ProviderConfig(name="o", kind="openai")


@pytest.mark.parametrize(
    ("models", "providers", "key"),
    [
        ([], [FAKE], "models"),
        ([model("a"), model("b")], [FAKE], "models"),
        ([model("a", default=True), model("b", default=True)], [FAKE], "models.b.default"),
        ([model("a", provider="x")], [FAKE], "models.a.provider"),
        ([model("a", title_model="b")], [FAKE], "models.a.title_model"),
        ([model("a")], [ProviderConfig(name="fake", kind="magic")], "providers.fake.kind"),
        ([model("a", provider="o")], [OPENAI], "providers.o.api_key"),
        (
            [model("a")],
            [ProviderConfig(name="fake", kind="openai-compatible")],
            "providers.fake.base_url",
        ),
        (
            [model("a")],
            [ProviderConfig(name="fake", kind="scripted", scripts={"s": [{"txt": "a"}]})],
            "providers.fake.scripts.s.0.txt",
        ),
        (
            [model("a")],
            [ProviderConfig(name="fake", kind="anthropic", api_key="k", script=[])],
            "providers.fake.script",
        ),
    ],
)
def test_invalid_configuration_names_its_key(
    models: list[ModelConfig], providers: list[ProviderConfig], key: str
) -> None:
    with pytest.raises(ProviderConfigError) as caught:
        build_catalog(providers=providers, models=models)
    assert caught.value.key == key


async def test_api_key_is_in_no_repr() -> None:
    config = ProviderConfig(
        name="fake", kind="anthropic", api_key="sk-hush", headers={"x-api-key": "sk-hush"}
    )
    catalog = make(model("a"), providers=(config,))
    shown = [config, catalog, catalog.default, catalog.provider_of(catalog.default)]
    assert "hush" not in repr(shown) + str(shown)
    await catalog.aclose()
    reach = ProviderEndpoint(
        name="x",
        rules=CHAT_COMPLETIONS,
        base_url=None,
        api_key="sk-hush",
        headers={},
        connect_seconds=1,
    )
    assert "hush" not in repr(reach)


async def test_catalog_warms_and_closes_its_providers() -> None:
    catalog = make(model("a"))
    await catalog.warm()
    await catalog.aclose()
