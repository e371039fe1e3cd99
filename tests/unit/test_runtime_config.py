"""A reload replaces the reloadable settings, all of them and no others."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import SecretStr

from chatd.daemon.catalog import catalog_from_settings, model_configs, provider_configs
from chatd.daemon.runtime_config import RuntimeConfig, RuntimeConfigHolder
from chatd.settings import Settings
from chatd.settings.keys import Key, known_keys, sections
from chatd.settings.models import NativeToolSettings
from chatd.tools.http.client import ToolHttpClient

SETTINGS = Settings.model_validate(
    {
        "providers": {"p": {"kind": "scripted"}},
        "models": {"m": {"provider": "p", "model": "scripted"}},
        "http_tools": {"t": {"description": "A tool.", "url": "https://example.com/"}},
        "mcp": {
            "s": {"command": "server"},
            "u": {
                "url": "https://example.com/",
                "oauth_client_id": "c",
                "oauth_client_secret": "s",
                "oauth_issuer": "https://example.com/",
            },
        },
    }
)
CATALOG = catalog_from_settings(SETTINGS)
CLIENT = ToolHttpClient()
NAMES = {"providers": "p", "models": "m", "http_tools": "t", "mcp": "s"}


def replaced_by_reload(settings: Settings) -> tuple[object, ...]:
    """Return everything that a reload puts in force; the catalog as what it is built from."""
    return (
        RuntimeConfig.from_settings(settings, CATALOG, CLIENT),
        provider_configs(settings.providers),
        model_configs(settings.models),
    )


OTHER_VALUES: dict[type, Callable[[Any], Any]] = {
    bool: lambda value: not value,
    int: lambda value: value + 1,
    float: lambda value: value + 1,
    str: lambda value: value + "x",
    list: lambda value: [*value, "x"],
    dict: lambda value: {**value, "x": SecretStr("x")},
    SecretStr: lambda value: SecretStr(value.get_secret_value() + "x"),
}
"""For a value of each type, one that differs. It need not be valid."""


def other_value(key: Key, value: Any) -> Any:
    """Return a value of the key's type that differs from ``value``."""
    annotation = sections()[key.section][0].model_fields[key.field].annotation
    if get_origin(annotation) is Literal:
        return next(choice for choice in get_args(annotation) if choice != value)
    if key.field == "builtin":
        return ["ask_user_question"]
    if key.field == "rules":
        return {"x": "ask"}
    if key.field == "native_tools":
        return [NativeToolSettings.model_validate({"kind": "web_search"})]
    if value is not None:
        return OTHER_VALUES[type(value)](value)
    for kind in walk_types(annotation):
        if kind in CHOICES:
            return CHOICES[kind]
        if kind in EMPTY:
            return OTHER_VALUES[kind](EMPTY[kind])
    raise AssertionError(f"{key.section}.{key.field} is of an unknown type: {annotation}")


def walk_types(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation is made of, the outer ones first."""
    yield get_origin(annotation) or annotation
    for argument in get_args(annotation):
        yield from walk_types(argument)


CHOICES: dict[Any, Any] = {Literal: "ask", bool: True}
"""Values that differ from none, of types that have no empty one."""
EMPTY: dict[type, Any] = {int: 0, float: 0.0, str: "", list: [], SecretStr: SecretStr("")}


def name_of(key: Key) -> str:
    """Return the table that the key is of. An MCP server has a command or a url."""
    of_url = key.field in {"url", "headers"} or key.field.startswith("oauth_")
    return "u" if key.section == "mcp" and of_url else NAMES[key.section]


def with_other_value(key: Key) -> Settings:
    table = getattr(SETTINGS, key.section)
    inner = table[name_of(key)] if key.named else table
    changed = inner.model_copy(update={key.field: other_value(key, getattr(inner, key.field))})
    section = {**table, name_of(key): changed} if key.named else changed
    return SETTINGS.model_copy(update={key.section: section})


def keys_of(*, reloadable: bool) -> list[Any]:
    return [
        pytest.param(key, id=".".join(path))
        for path, key in known_keys().items()
        if key.reloadable is reloadable
    ]


@pytest.mark.parametrize("key", keys_of(reloadable=True))
def test_reloadable_key_is_in_runtime_config(key: Key) -> None:
    assert replaced_by_reload(with_other_value(key)) != replaced_by_reload(SETTINGS)


@pytest.mark.parametrize("key", keys_of(reloadable=False))
def test_other_key_is_not_in_runtime_config(key: Key) -> None:
    assert replaced_by_reload(with_other_value(key)) == replaced_by_reload(SETTINGS)


def test_replaced_config_is_in_force_before_listeners_run() -> None:
    holder = RuntimeConfigHolder(RuntimeConfig.from_settings(SETTINGS, CATALOG, CLIENT))
    max_chats = next(key for key in known_keys().values() if key.field == "max_chats")
    new = RuntimeConfig.from_settings(with_other_value(max_chats), CATALOG, CLIENT)
    seen = []
    holder.on_replace(lambda config: seen.append((config, holder.max_chats())))
    holder.replace(new)
    assert seen == [(new, SETTINGS.worker.max_chats + 1)]
    assert holder.current is new
