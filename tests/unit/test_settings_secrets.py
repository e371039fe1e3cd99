"""Secrets of the settings: hidden in ``config show`` and in errors, and listed for the log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatd.settings import (
    ConfigurationError,
    Settings,
    load,
    load_with_origins,
    shown_settings,
)
from chatd.settings.secrets import redact_url, secret_values

SECRET = "geheim-4711"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "config.toml"
        file.write_text(text)
        return file

    return write


def test_shown_settings_have_no_secrets(write: Write, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    config = write(
        f'[database]\nurl = "postgresql://u:{SECRET}@h/db"\n'
        f'[providers.x]\nkind = "openai"\napi_key_file = "key"\nheaders = {{ X = "{SECRET}" }}\n'
    )
    loaded = load_with_origins(config, {})
    entries = {entry.key: entry for entry in shown_settings(loaded)}
    assert entries["database.url"].value == "postgresql://u:[redacted]@h/db"
    assert entries["providers.x.headers"].value == {"X": "[redacted]"}
    assert entries["providers.x.api_key"].origin.kind == "file"
    assert entries["http.port"].origin.kind == "default"
    for text in (
        repr(loaded),
        str(loaded.settings),
        json.dumps([e.value for e in entries.values()]),
    ):
        assert SECRET not in text


@pytest.mark.parametrize(
    "text",
    [
        f"[database]\nurl = 'mysql://u:{SECRET}@h/db'",
        f"[database]\nurl = ['{SECRET}']",
        f"[providers.x]\nkind = 'scripted'\napi_key = {{ a = '{SECRET}' }}",
        f"[providers.x]\nkind = 'scripted'\nheaders = '{SECRET}'",
        f"[providers.x]\nkind = 'scripted'\nheaders = {{ X = ['{SECRET}'] }}",
    ],
)
def test_problem_with_a_secret_does_not_show_it(write: Write, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(text), {})
    assert SECRET not in str(caught.value)
    assert str(caught.value).splitlines() == [each.text for each in caught.value.problems]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///chatd", "postgresql:///chatd"),
        ("postgresql://u@h:5/d", "postgresql://u@h:5/d"),
        ("postgresql://u:p@h:5/d?password=x", "postgresql://u:[redacted]@h:5/d?[redacted]"),
        ("postgresql://u:p/q@h/d", "[redacted]"),
        ("postgresql://u:p#q@h/d", "[redacted]"),
        ("postgresql://[u:p", "[redacted]"),
    ],
)
def test_redact_url_removes_the_password(url: str, expected: str) -> None:
    assert redact_url(url) == expected


def test_shown_settings_are_json(write: Write) -> None:
    config = write("[providers.s]\nkind = 'scripted'\nscript = [{ at = 2026-01-01, n = [1, 'a'] }]")
    values: dict[str, Any] = {
        entry.key: entry.value for entry in shown_settings(load_with_origins(config, {}))
    }
    assert values["providers.s.script"] == [{"at": "2026-01-01", "n": [1, "a"]}]
    assert values["providers.s.kind"] == "scripted"
    assert json.loads(json.dumps(values)) == values


def test_secret_values_include_the_secret_parts_of_urls() -> None:
    url = "postgresql://u:s3cret@h/db?sslpassword=q"
    provider = {"kind": "openai", "api_key": "k", "headers": {"X-Gateway": "h"}}
    settings = Settings.model_validate(
        {
            "database": {"url": url},
            "providers": {"p": provider},
            "models": {"m": {"provider": "p", "model": "m"}},
        }
    )
    assert set(secret_values(settings)) == {url, "s3cret", "q", "k", "h"}
