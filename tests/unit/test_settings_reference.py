"""``config.example.toml`` is generated, has every setting with its default, and works."""

import re
import tomllib
from pathlib import Path

from pydantic import SecretStr

from chatd.settings import load_with_origins
from chatd.settings.keys import Key, known_keys, sections
from docs.settings_reference import example_config

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
TEXT = EXAMPLE.read_text()
WORDS = " ".join(TEXT.replace("#", " ").split())


def plain(key: Key) -> object:
    return key.default.get_secret_value() if isinstance(key.default, SecretStr) else key.default


def test_example_equals_the_generated_text() -> None:
    assert example_config() == TEXT, "run 'make generate'"


def test_example_sets_every_default_and_nothing_else() -> None:
    fixed = [key for key in known_keys().values() if not key.named]
    expected: dict[str, dict[str, object]] = {key.section: {} for key in fixed}
    for key in fixed:
        if key.default is not None:
            expected[key.section][key.field] = plain(key)
    assert tomllib.loads(TEXT) == expected


def test_example_has_every_key_with_its_description() -> None:
    for key in known_keys().values():
        line = re.search(rf"^(# )?{key.field}(_file)? = ", TEXT, re.MULTILINE)
        assert line, f"{key.section}.{key.field} is not in the example"
        assert key.description, f"{key.section}.{key.field} has no description"
        assert key.description in WORDS, f"{key.section}.{key.field} is described otherwise"


def test_address_says_that_tls_ends_in_front() -> None:
    assert "terminate TLS in front" in known_keys()["http", "host"].description


def test_example_without_comment_signs_is_valid(tmp_path: Path) -> None:
    bare = re.sub(r"^# (?=\[|\w+ = )", "", TEXT, flags=re.MULTILINE)
    for name in re.findall(r"\w+_file = \"(\w[^/\"]*)\"", bare):
        table = '{"X-Key": "a key"}' if "headers" in name else '{"KEY": "a key"}'
        (tmp_path / name).write_text(table if name.endswith(".json") else "a key")
    config = tmp_path / "config.toml"
    config.write_text(bare)
    keys_in_it = {(path[0], path[-1]) for path in load_with_origins(config, {}).origins}
    assert keys_in_it == set(known_keys())
    assert {section for section, _ in keys_in_it} == set(sections())
