"""Choice of the model of ``chatd demo`` and ``chatd dev``, by the option and the API keys set."""

from pathlib import Path

import pytest

from chatd.cli.dev_model import DevModel, choose_dev_model, dev_settings, model_of_file
from chatd.llm.errors import ProviderConfigError
from chatd.settings import load

KEYS = {"OPENAI_API_KEY": "openai", "ANTHROPIC_API_KEY": "anthropic"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KEYS:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("chatd.cli.dev_model.local_model_available", lambda: False)


@pytest.mark.parametrize(
    ("keys", "model_option", "kind", "model"),
    [
        ([], None, "scripted", "scripted"),
        (["OPENAI_API_KEY"], None, "openai", "gpt-5-mini"),
        (["ANTHROPIC_API_KEY"], None, "anthropic", "claude-haiku-4-5"),
        ([*KEYS], "claude-x", "anthropic", "claude-x"),
        ([*KEYS], "gpt-x", "openai", "gpt-x"),
        ([*KEYS], "o9-mini", "openai", "o9-mini"),
        (["ANTHROPIC_API_KEY"], "claude-x", "anthropic", "claude-x"),
        (["OPENAI_API_KEY"], "ours", "openai", "ours"),
        (["ANTHROPIC_API_KEY"], "ours", "anthropic", "ours"),
    ],
)
async def test_dev_model_selection(
    keys: list[str],
    model_option: str | None,
    kind: str,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in keys:
        monkeypatch.setenv(variable, f"key of {KEYS[variable]}")
    async with choose_dev_model(model_option) as chosen:
        assert chosen.providers["dev"]["kind"] == kind
        assert chosen.providers["dev"].get("api_key") in {None, f"key of {kind}"}
        assert chosen.models == {model: {"provider": "dev", "model": model}}


@pytest.mark.parametrize("key", ["sk-1\n", "sk-1 ", "sk-\x07", "sk-é"])
async def test_api_key_that_fits_no_header_is_refused(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ProviderConfigError, match=r"^OPENAI_API_KEY: ") as caught:
        async with choose_dev_model():
            pass
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "model_option", "problem"),
    [
        ([], "claude-x", "claude-x needs ANTHROPIC_API_KEY in the environment"),
        (["OPENAI_API_KEY"], "claude-x", "claude-x needs ANTHROPIC_API_KEY"),
        (["ANTHROPIC_API_KEY"], "gpt-x", "gpt-x needs OPENAI_API_KEY"),
        ([], "ours", "ours needs OPENAI_API_KEY or ANTHROPIC_API_KEY"),
        (
            [*KEYS],
            "ours",
            "OPENAI_API_KEY and ANTHROPIC_API_KEY are set, and ours may belong to either",
        ),
    ],
)
@pytest.mark.parametrize("local", [True, False])
async def test_dev_model_without_api_key_fails(
    keys: list[str], model_option: str, problem: str, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatd.cli.dev_model.local_model_available", lambda: local)
    for variable in keys:
        monkeypatch.setenv(variable, "key")
    with pytest.raises(ProviderConfigError, match=problem):
        async with choose_dev_model(model_option):
            pass


FILE = """
[http]
port = 9
max_body_bytes = 1000
[worker]
max_chats = 3
[database]
url = "postgresql://elsewhere/chats"
[mcp.time]
command = "mcp-server-time"
"""
MODELS = """
[providers.script]
kind = "scripted"
[models.clock]
provider = "script"
model = "clock"
"""


def test_settings_of_a_file_have_the_embedded_database_and_port(tmp_path: Path) -> None:
    path = tmp_path / "dev.toml"
    path.write_text(FILE)
    file = load(path, environ={})
    assert model_of_file(path, file) is None
    chosen = DevModel("", {"dev": {"kind": "scripted"}}, {"m": {"provider": "dev", "model": "m"}})
    merged = dev_settings(chosen, dsn="postgresql://here/dev", port=7, file=file)
    assert (merged.http.port, merged.http.max_body_bytes) == (7, 1000)
    assert (merged.worker.max_chats, merged.worker.shutdown_grace_seconds) == (3, 2.0)
    assert merged.database.url.get_secret_value() == "postgresql://here/dev"
    assert merged.database.migrate_on_start
    assert ([*merged.mcp], [*merged.models]) == (["time"], ["m"])


def test_models_of_a_file_replace_the_embedded_one(tmp_path: Path) -> None:
    path = tmp_path / "dev.toml"
    path.write_text(FILE + MODELS)
    file = load(path, environ={})
    model = model_of_file(path, file)
    assert model is not None
    assert model.description == f"clock of {path}"
    merged = dev_settings(model, dsn="postgresql://here/dev", port=0, file=file)
    assert ([*merged.providers], [*merged.models]) == (["script"], ["clock"])
