"""Generator of ``config.example.toml``, and of the rows of the reference page, from the models.

``docs.generate`` writes both. A test holds that the files in the repository are up to date.
"""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr

from chatd.settings.keys import FILE_SUFFIX, Key, known_keys, sections

_HEADER = """\
# Configuration of chatd: every key, with its default.
#
# chatd reads one such file: --config PATH, else $CHATD_CONFIG, else /etc/chatd/config.toml if it
# exists. Every key can also be set in the environment, which wins over the file:
#
#     CHATD_WORKER__MAX_CHATS=50
#     CHATD_PROVIDERS__MY_AI__API_KEY=...        (a key of the table [providers.my-ai])
#     CHATD_MODELS__FAST__SETTINGS='{"temperature": 0.2}'        (mappings and lists, as JSON)
#
# A secret can also be given as <key>_file, here or in the environment: the path of a file that
# holds it, here relative to the folder of this file. Or as a systemd credential that is named like
# the key (in a shell, put such files into a folder and name it in CREDENTIALS_DIRECTORY):
#
#     LoadCredential=database.url:/etc/chatd/credentials/database.url
#
# 'chatd config check' finds every mistake. 'chatd config show' prints every value that a start from
# this shell would use, and where it comes from. SIGHUP applies sections and keys that are marked as
# reloadable, without a restart.
#
# 'make generate' writes this file from the settings models.
"""
_EXAMPLES: dict[str, dict[str, dict[str, Any]]] = {
    "providers": {
        "openai": {
            "kind": "openai",
            "base_url": "https://api.openai.com/v1",
            "api_key_file": "openai.key",
            "headers": {"OpenAI-Project": "proj_123"},
        },
        "demo": {
            "kind": "scripted",
            "script": [{"text": "Good evening."}],
            "scripts": {"short": [{"text": "Hm."}]},
        },
    },
    "models": {
        "fast": {
            "provider": "openai",
            "model": "gpt-5-mini",
            "context_limit": 400000,
            "max_output_tokens": 16000,
            "compaction_percent": 80,
            "compaction_model": "fast",
            "settings": {"temperature": 0.2},
            "native_tools": ["web_search"],
            "title_model": "fast",
            "default": True,
        }
    },
    "http_tools": {
        "weather": {
            "description": "The weather in a city.",
            "method": "GET",
            "url": "https://api.example.com/cities/{city}/weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
                "required": ["city"],
            },
            "headers": {"Authorization": "Bearer abc"},
            "policy": "reattach",
            "result_url": "https://api.example.com/calls/{idempotency_key}",
            "timeout_seconds": 10.0,
            "default": True,
            "permission": "allow",
            "read_only": True,
        }
    },
    "mcp": {
        "git": {
            "command": "mcp-server-git",
            "args": ["--repository", "/srv/project"],
            "env_file": "git.env.json",
            "tools": ["git_status", "git_log", "git_diff*"],
            "idempotent": ["*"],
            "read_only": ["git_status", "git_log", "git_diff*"],
            "idle_seconds": 600.0,
        },
        "tracker": {
            "url": "https://tracker.example.com/mcp",
            "headers_file": "tracker.headers.json",
            "oauth_client_id": "chatd",
            "oauth_client_secret_file": "tracker.secret",
            "oauth_issuer": "https://login.example.com",
            "oauth_scope": "tickets:read",
            "permission": "ask",
            "trust_hints": True,
            "max_tools": 64,
            "connect_seconds": 5.0,
            "call_seconds": 60.0,
            "default": True,
            "max_calls": 8,
        },
        "billing": {
            "url": "https://billing.example.com/mcp",
            "oauth_client_id": "chatd",
            "oauth_private_key_file": "billing.pem",
            "oauth_issuer": "https://login.example.com",
        },
    },
}
"""Named tables of ``config.example.toml``. Together they have every key."""
_WIDTH = 100
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "minLength": "not empty",
}
"""Limits of a JSON schema in words."""


def example_config() -> str:
    """Return the text of ``config.example.toml``: all defaults, and examples of the other keys."""
    return "\n".join((_HEADER, *map(_example_section, sections())))


def _example_section(section: str) -> str:
    _, named = sections()[section]
    keys = {key.field: key for key in section_keys(section)}
    reloadable = all(key.reloadable for key in keys.values())
    sentences = (
        section_description(section),
        "Any number of these tables, each with a name." if named else "",
        "(Reloadable.)" if reloadable else "",
    )
    lines = [_comment(*sentences)]
    if not named:
        lines[0] += f"[{section}]\n"
        lines += (_example_entry(key, marked=key.reloadable != reloadable) for key in keys.values())
    for name, table in _EXAMPLES[section].items() if named else ():
        lines.append(f"# [{section}.{name}]\n")
        for word, value in table.items():
            if key := keys.pop(word.removesuffix(FILE_SUFFIX), None):
                lines[-1] += f"#\n{_comment(_description(key))}"
            lines[-1] += f"# {word} = {_toml(value)}\n"
    return "\n".join(lines)


def _example_entry(key: Key, *, marked: bool) -> str:
    comment = _comment(_description(key), "(Reloadable.)" if marked else "")
    if key.default is None:
        examples = key.info.examples or [""]
        return f"{comment}# {key.field} = {_toml(examples[0])}\n"
    return f"{comment}{key.field} = {_toml(key.default)}\n"


def section_description(section: str) -> str:
    """Return the docstring of a section's model in one line."""
    return " ".join((sections()[section][0].__doc__ or "").split())


def section_keys(section: str) -> list[Key]:
    """Return the keys of one section."""
    return [key for key in known_keys().values() if key.section == section]


def reference_row(key: Key) -> tuple[str, ...]:
    """Return key, type, default, reloadable and description in Markdown."""
    schema = sections()[key.section][0].model_json_schema()["properties"][key.field]
    return (
        f"`{key.field}`",
        ", ".join(_type_words(schema)),
        _default_text(key),
        "yes" if key.reloadable else "",
        _description(key),
    )


def _default_text(key: Key) -> str:
    if key.info.is_required():
        return "required"
    return "not set" if key.default is None else f"`{_toml(key.default)}`"


def _description(key: Key) -> str:
    secret = " A secret." if key.secret else ""
    return key.description + secret


def _type_words(schema: dict[str, Any]) -> Iterator[str]:
    """Yield a JSON schema in words: the type, then its limits."""
    schema, *_ = schema.get("anyOf", [schema])  # the other type is null, which TOML cannot write
    if "enum" in schema:
        yield " or ".join(f'`"{value}"`' for value in schema["enum"])
        return
    yield {"array": "list", "object": "table"}.get(schema["type"], schema["type"])
    yield from (text.format(schema[name]) for name, text in _LIMITS.items() if name in schema)


def _comment(*sentences: str) -> str:
    text = " ".join(filter(None, sentences))
    lines = textwrap.wrap(text, _WIDTH - len("# "), break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _toml(value: Any) -> str:
    """Return a value as TOML."""
    match value:
        case SecretStr():
            return _toml(value.get_secret_value())
        case dict():
            inner = ", ".join(f"{key} = {_toml(each)}" for key, each in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False)
