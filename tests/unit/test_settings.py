"""Settings: sources and their precedence, origins, and problems."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from chatd.daemon.catalog import catalog_from_settings
from chatd.llm.vendors import PROVIDER_KINDS
from chatd.settings import (
    ConfigurationError,
    HttpSettings,
    Settings,
    WorkerSettings,
    load,
    load_with_origins,
)

SECRET = "geheim-4711"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "config.toml"
        file.write_text(text)
        return file

    return write


def problems(config: Path | None = None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(config, environ or {})
    assert str(caught.value).splitlines() == [each.text for each in caught.value.problems]
    return str(caught.value).splitlines()


def test_without_sources_settings_are_the_defaults() -> None:
    assert load(environ={}) == Settings()
    assert load_with_origins(environ={}).origins == {}


def test_environment_wins_over_credentials_over_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "database.url").write_text("postgresql://credential/db\n")
    (tmp_path / "unrelated.pem").write_text("somebody else's")
    config = write('[database]\nurl = "postgresql://file/db"\npool_size = 3\n[http]\nport = 1\n')
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    variable = {"CHATD_DATABASE__URL": "postgresql://env/db"}

    def url(environ: dict[str, str]) -> str:
        return load(config, environ).database.url.get_secret_value()

    assert url({}) == "postgresql://file/db"
    assert url(credentials) == "postgresql://credential/db"
    assert url(credentials | variable) == "postgresql://env/db"
    assert url({"CHATD_DATABASE__URL": ""}) == "postgresql://file/db"
    loaded = load_with_origins(config, credentials | {"CHATD_HTTP__PORT": "7"})
    assert loaded.settings.http.port == 7
    kinds = {".".join(path): origin.kind for path, origin in loaded.origins.items()}
    assert kinds == {"database.url": "credential", "database.pool_size": "file", "http.port": "env"}


def test_file_comes_from_argument_or_variable(write: Write, tmp_path: Path) -> None:
    config = write("[http]\nport = 5\n")
    other = tmp_path / "other.toml"
    other.write_text("[http]\nport = 6\n")
    assert load(config, {}).http.port == 5
    assert load(None, {"CHATD_CONFIG": str(config)}).http.port == 5
    assert load(other, {"CHATD_CONFIG": str(config)}).http.port == 6
    missing = tmp_path / "missing.toml"
    assert problems(missing) == [f"{missing}: No such file or directory (file)"]
    other.write_text("[http\n")
    assert problems(other)[0].startswith(f"{other}: not valid TOML: ")


def test_environment_text_is_converted_to_the_type_of_the_key() -> None:
    settings = load(
        environ={
            "CHATD_WORKER__ENABLED": "false",
            "CHATD_STREAM__FLUSH_INTERVAL_SECONDS": "0.25",
            "CHATD_PROVIDERS__OPENAI__KIND": "openai",
            "CHATD_PROVIDERS__OPENAI__API_KEY": SECRET,
            "CHATD_PROVIDERS__OPENAI__HEADERS": '{"X-Team": "a"}',
            "CHATD_MODELS__FAST__PROVIDER": "openai",
            "CHATD_MODELS__FAST__MODEL": "gpt",
            "CHATD_MODELS__FAST__SETTINGS": '{"temperature": 0.2}',
            "CHATD_TEST_DSN": "not a setting",
            "OTHER": "not ours",
        }
    )
    assert settings.worker.enabled is False
    assert settings.stream.flush_interval_seconds == 0.25
    assert settings.providers["openai"].api_key == SecretStr(SECRET)
    assert settings.providers["openai"].headers == {"X-Team": SecretStr("a")}
    assert settings.models["fast"].settings == {"temperature": 0.2}


def test_variable_matches_table_name_with_other_characters(write: Write) -> None:
    config = write('[providers.My-AI]\nkind = "openai"\n[providers.a-b]\n[providers.a_b]\n')
    environ = {"CHATD_PROVIDERS__MY_AI__API_KEY": SECRET, "CHATD_PROVIDERS__A_B__KIND": "scripted"}
    text = problems(config, environ)
    assert text[0] == "CHATD_PROVIDERS__A_B__KIND: may mean any of a-b, a_b (environment)"
    del environ["CHATD_PROVIDERS__A_B__KIND"]
    config = write('[providers.My-AI]\nkind = "openai"\n')
    assert load(config, environ).providers["My-AI"].api_key == SecretStr(SECRET)


def test_secret_is_read_from_its_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"postgresql://u:{SECRET}@h/db\r\n")
    config = write('[database]\nurl_file = "url"\n')
    assert load(config, {}).database.url.get_secret_value().endswith("@h/db")
    environ = {"CHATD_DATABASE__URL_FILE": str(tmp_path / "url")}
    assert load(environ=environ) == load(config, {})
    (tmp_path / "url").write_text("\n")
    assert problems(config) == [f"database.url_file: {tmp_path}/url is empty (file {config})"]
    (tmp_path / "url").unlink()
    assert "cannot read" in problems(config)[0]
    assert "No such file" in problems(environ=environ)[0]


def test_secret_given_twice_in_one_source_is_a_problem(write: Write, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql:///b")
    config = write('[database]\nurl = "postgresql:///a"\nurl_file = "url"\n')
    assert problems(config) == [f"database.url_file: database.url is given twice (file {config})"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[worker]\nmax_chat = 1", "worker.max_chat: unknown key; did you mean worker.max_chats?"),
        ("[wroker]\nmax_chats = 1", "wroker: unknown key; did you mean worker?"),
        ("[log]\nlevel_file = 'x'", "log.level_file: unknown key"),
        ("[providers.x]\nkind = 'scripted'\napi_kee = ''", "did you mean providers.x.api_key?"),
        ("http = 5", "http: must be a table: [http]"),
        ("[models]\nfast = 5", "models.fast: must be a table: [models.NAME]"),
        ("[providers.'a b']\nkind = 'scripted'", "a name is made of at most 200 letters, digits"),
        ("[http]\nport = 'x'", "http.port: must be a valid integer"),
        ("[http]\nport = -1", "got -1"),
        ("[turn]\ntimeout_seconds = inf", "turn.timeout_seconds: must be a finite number"),
        ("[providers.x]\n", "providers.x.kind: is required (not set)"),
        ("[providers.x]\nkind = 'gpt'", "got 'gpt'"),
        ("[auth]\nmode = 'jwt'", 'auth.jwks: is required when auth.mode is "jwt"'),
        ("[auth]\nmode = 'jwt'", 'auth.issuer: is required when auth.mode is "jwt"'),
        ("[auth]\nmode = 'jwt'", 'auth.audience: is required when auth.mode is "jwt"'),
        ("[auth]\njwks = 'http://idp.example.com/keys'", "auth.jwks: must be an https:// URL"),
        ("[auth]\njwks = 'keys.json'", "auth.jwks: must be an https:// URL"),
        ("[auth]\njwks = 'https:///keys'", "auth.jwks: must be an https:// URL"),
        ("[auth]\nmode = 'basic'", "auth.mode: "),
        ("[http]\nhost = '0.0.0.0'", "http.host: without authentication"),
        ("[http]\nhost = '0.0.0.0'", "chatd token create --owner NAME"),
        ("[http]\ncors_origins = ['*']", "http.cors_origins: '*' is not an origin"),
        ("[http]\ncors_origins = ['https://a.b/']", "it must look like https://app.example.com"),
        ("[http]\ncors_origins = ['https://A.b']", "http.cors_origins: 'https://A.b' is not"),
        ("[http]\ncors_origins = 'https://a.b'", "http.cors_origins: must be a list or a table"),
        ("[limits]\nmax_streams = -1", "limits.max_streams: "),
        (
            "[stream]\nevent_retention_days = 0.5",
            "stream.event_retention_days: must not be shorter",
        ),
        ("[stream]\nevent_retention_days = 0.5", "than http.idempotency_retention_hours (24"),
        ("[http]\nidempotency_retention_hours = 169", "stream.event_retention_days: must not be"),
        ("[worker]\nheartbeat_seconds = 7", "lease_seconds: must be at least 3 times"),
        ("[turn]\nbackoff_seconds = 90", "turn.backoff_max_seconds: must not be less than"),
        ("[database]\nurl = 'host=x'", "database.url: must begin with postgresql://"),
        ("[database]\nurl = 'postgresql://[::1/x'", "database.url: is not a URL"),
        ("[database]\nurl = 'postgresql://h:x/d'", "database.url: a port must be a number"),
        ("[database]\nurl = 'postgresql://h:65536/d'", "database.url: a port must be a number"),
        ("[database]\nurl = 'postgresql://[::1]:0x1/d'", "database.url: a port must be a number"),
        ("[database]\ndirect_url = 'postgres://a:1,b:y/d'", "direct_url: a port must be a number"),
        ("[providers.x]\nkind = 'openai'", "providers.x.api_key: is required"),
        ("[providers.x]\nkind = 'openai'\napi_key = ''", "providers.x.api_key: is required"),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'",
            'providers.x.api_key: is required when kind is "openai" (not set)',
        ),
        ("[providers.x]\nkind = 'openai'\nscript = [{}]", "providers.x.script: is for kind"),
        ("[providers.x]\nkind = 'openai-compatible'", "providers.x.base_url: is required"),
        ("[models.m]\nprovider = 'x'\nmodel = 'y'", "there is no provider 'x'; configured: none"),
    ],
)
def test_problem_of_a_file_names_key_and_reason(write: Write, text: str, expected: str) -> None:
    assert expected in "\n".join(problems(write(text)))


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [
        ("CHATD_WORKER__MAX_CHAT", "CHATD_WORKER__MAX_CHATS"),
        ("CHATD_DATABASE_URL", "CHATD_DATABASE__URL"),
        ("CHATD_PROVIDER__MY_AI__API_KEY", "CHATD_PROVIDERS__MY_AI__API_KEY"),
        ("CHATD_DATABASE__URL_FIEL", "CHATD_DATABASE__URL_FILE"),
    ],
)
def test_misspelt_variable_gets_a_suggestion(variable: str, suggestion: str) -> None:
    expected = f"{variable}: unknown key; did you mean {suggestion}? (environment)"
    assert problems(environ={variable: "1"}) == [expected]


def test_caller_variables_are_ignored_and_similar_ones_are_problems() -> None:
    reserved = {"CHATD_URL": "http://x", "CHATD_TOKEN": "t", "CHATD_TEST_DSN": "postgresql:///x"}
    assert load(environ=reserved) == Settings()
    misspelt = ("CHATD_TOKENS__X", "CHATD_TOKEN_FILE", "CHATD_URLS", "CHATD_URL__X")
    found = problems(environ=dict.fromkeys(misspelt, "1"))
    assert [text.partition(":")[0] for text in found] == sorted(misspelt)


def test_credential_must_be_a_known_secret(tmp_path: Path) -> None:
    (tmp_path / "http.port").write_text("80")
    (tmp_path / "database.ulr").write_text("x")
    text = "\n".join(problems(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}))
    assert "http.port: is not a secret" in text
    assert "database.ulr: unknown key; did you mean database.url?" in text


def test_all_problems_are_reported_together(write: Write) -> None:
    config = write("[worker]\nmax_chat = 1\n[http]\nport = 'x'\n[log]\nlevel = 'loud'\n")
    assert len(problems(config, {"CHATD_X": "1"})) == 4


def test_exactly_one_of_several_models_is_the_default(write: Write) -> None:
    provider = "[providers.p]\nkind = 'scripted'\n"
    one, other = (f"[models.{name}]\nprovider = 'p'\nmodel = 'm'\n" for name in "ab")
    load(write(provider + one), {})
    load(write(provider + one + "default = true\n" + other), {})
    text = problems(write(provider + one + "default = true\n" + other + "default = true\n"))
    assert text[0].startswith("models.b.default: models.a is the default already")
    assert problems(write(provider + one + other))[0].startswith("models: set default = true for")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_host_needs_no_authentication(host: str) -> None:
    assert Settings(http=HttpSettings(host=host)).http.host == host


def test_with_authentication_any_host_is_allowed(write: Write) -> None:
    load(write("[auth]\nmode = 'token'\n[http]\nhost = '0.0.0.0'"), {})
    jwt = "[auth]\nmode = 'jwt'\nissuer = 'i'\naudience = 'a'\n[http]\nhost = '::'\n"
    for jwks in ("https://idp.example.com/keys", "http://127.0.0.1:9/keys", "/etc/chatd/keys.json"):
        text = jwt.replace("mode", f"jwks = '{jwks}'\nmode")
        assert load(write(text), {}).auth.jwks == jwks


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///chatd",
        "postgresql://u:p%40@h:5432/d?sslmode=require",
        "postgres://u@a:1,b:2,[::1]:3/d",
        "postgresql://[::1]/d",
        "postgresql://u:p:w@h/d",
        "postgresql://%2Fvar%2Frun/d",
    ],
)
def test_database_url_is_accepted(write: Write, url: str) -> None:
    assert load(write(f"[database]\nurl = '{url}'")).database.url.get_secret_value() == url


@pytest.mark.parametrize("kind", list(PROVIDER_KINDS))
@pytest.mark.parametrize("base_url", [None, "http://h/v1"])
@pytest.mark.parametrize("api_key", [None, "", SECRET])
@pytest.mark.parametrize("script", [None, [], [{"text": "hello"}]])
def test_accepted_providers_make_a_catalog(
    kind: str, base_url: str | None, api_key: str | None, script: list[Any] | None
) -> None:
    given = {"kind": kind, "base_url": base_url, "api_key": api_key, "script": script}
    models = {"m": {"provider": "p", "model": "m"}}
    try:
        accepted = Settings.model_validate({"providers": {"p": given}, "models": models})
    except ValidationError:
        accepted = None
    if accepted is not None:
        assert catalog_from_settings(accepted).default.name == "m"
    needs = {
        "openai-compatible": bool(base_url),
        "azure": bool(base_url and api_key),
        "ollama": True,
        "vllm": True,
        "scripted": True,
    }
    plays = script is not None and kind != "scripted"
    assert (accepted is not None) is (needs.get(kind, bool(api_key)) and not plays)


def test_rules_hold_for_settings_made_in_code() -> None:
    with pytest.raises(ValidationError, match="at least 3 times"):
        Settings(worker=WorkerSettings(lease_seconds=1))
