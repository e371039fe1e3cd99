"""Facts about models: the context limit of the configuration, else of the package that knows many."""

import subprocess
import sys
from uuid import UUID

import pytest
from support.provider_cases import message, text_part

from chatd.domain.chat import Usage
from chatd.domain.message import Role
from chatd.domain.request_size import RequestSize, message_tokens
from chatd.llm.catalog import ModelConfig, ProviderConfig, build_catalog
from chatd.llm.context_window import NEVER, ContextWindow
from chatd.llm.errors import ProviderConfigError
from chatd.llm.model_facts import ContextLimitSource, ModelName, known_context_limits

OPENAI = ProviderConfig(name="p", kind="openai", api_key="k")


async def test_known_models_have_the_window_of_the_package() -> None:
    asked = [
        ModelName("a", "gpt-5-mini", "openai", None),
        ModelName("b", "claude-haiku-4-5", "anthropic", None),
        ModelName("c", "gpt-4o", "azure", "https://r.openai.azure.com/openai/v1"),
        ModelName("d", "gpt-5-mini", "openai", "http://127.0.0.1:9/v1"),
        ModelName("e", "no-such-model", "openai", None),
        ModelName("f", "gpt-5-mini", "scripted", None),
    ]
    assert await known_context_limits(asked) == {"a": 400_000, "b": 200_000, "c": 128_000}


async def test_catalog_learns_what_the_configuration_does_not_say() -> None:
    catalog = build_catalog(
        providers=[OPENAI],
        models=[
            ModelConfig(name="known", provider="p", model="gpt-5-mini", default=True),
            ModelConfig(
                name="said",
                provider="p",
                model="gpt-5-mini",
                context_limit=1000,
                context_limit_source=ContextLimitSource.CONFIGURATION,
            ),
        ],
    )
    assert catalog.by_name("known").window is None
    await catalog.warm()
    known, said = catalog.models
    assert (known.context_limit, known.context_limit_source) == (400_000, "genai-prices")
    assert known.window == ContextWindow(400_000, 32_000, 294_400)
    assert (said.context_limit, said.context_limit_source) == (1000, "configuration")
    assert catalog.default is known is catalog.by_id(known.id)
    await catalog.aclose()


def test_nothing_of_it_is_imported_with_the_catalog() -> None:
    code = "import sys, chatd.llm.catalog; assert 'genai_prices' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_model_of_summaries_is_one_of_the_configuration() -> None:
    model = ModelConfig(name="a", provider="p", model="m", compaction_model="b")
    with pytest.raises(ProviderConfigError, match=r"models\.a\.compaction_model"):
        build_catalog(providers=[OPENAI], models=[model])


@pytest.mark.parametrize(
    ("limit", "max_output", "percent", "window"),
    [
        (8000, None, 80, ContextWindow(8000, 2000, 4800)),
        (200_000, None, 80, ContextWindow(200_000, 32_000, 134_400)),
        (200_000, 8000, 50, ContextWindow(200_000, 8000, 96_000)),
        (8000, 8000, 80, ContextWindow(8000, 4000, 3200)),
        (8000, None, 0, ContextWindow(8000, 2000, NEVER)),
    ],
)
def test_window_keeps_space_for_the_answer(
    limit: int, max_output: int | None, percent: int, window: ContextWindow
) -> None:
    assert ContextWindow.of(limit, max_output_tokens=max_output, percent=percent) == window


def test_size_is_what_was_counted_and_what_came_after() -> None:
    model, other = UUID(int=1), UUID(int=2)
    question = message(1, Role.USER, text_part("x" * 300))
    answer = message(2, Role.ASSISTANT, text_part("y" * 30))
    object.__setattr__(answer, "usage", Usage(input_tokens=70, output_tokens=9))
    object.__setattr__(answer, "model_config_id", model)
    size = RequestSize().followed_by([question])
    assert size.tokens(model) == 100
    size = size.followed_by([answer])
    assert (size.tokens(model), size.tokens(other)) == (79, 110)
    size = size.followed_by([message(3, Role.USER, text_part("é" * 30))])
    assert (size.tokens(model), size.tokens(other)) == (99, 130)


def test_files_have_the_tokens_of_their_kind() -> None:
    def file(media_type: str, size: int) -> int:
        part = {"type": "file", "file_id": "f", "media_type": media_type, "size": size}
        return message_tokens(message(1, Role.USER, part))

    assert file("image/png", 5_000_000) == 1600
    assert file("application/pdf", 10) == 2500
    assert file("application/pdf", 120_000) == 7500
    assert file("text/plain", 300) == 100
