"""``config.example.toml`` documents every setting, with its default, in the settings' own words."""

import re
import tomllib
from pathlib import Path

from pydantic import SecretStr

from chatd.settings import load_with_origins
from chatd.settings.keys import Key, known_keys, sections

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
TEXT = EXAMPLE.read_text()
WORDS = " ".join(TEXT.replace("#", " ").split())


def plain(key: Key) -> object:
    return key.default.get_secret_value() if isinstance(key.default, SecretStr) else key.default


def test_as_it_stands_it_says_the_defaults_and_nothing_else() -> None:
    fixed = [key for key in known_keys().values() if not key.named]
    expected: dict[str, dict[str, object]] = {key.section: {} for key in fixed}
    for key in fixed:
        if key.default is not None:
            expected[key.section][key.field] = plain(key)
    assert tomllib.loads(TEXT) == expected


def test_every_key_is_there_with_its_sentence() -> None:
    for key in known_keys().values():
        line = re.search(rf"^(# )?{key.field}(_file)? = ", TEXT, re.MULTILINE)
        assert line, f"{key.section}.{key.field} is not in the example"
        assert key.description in WORDS, f"{key.section}.{key.field} is described otherwise"


def test_without_its_comment_signs_every_example_works(tmp_path: Path) -> None:
    bare = re.sub(r"^# (?=\[|\w+ = )", "", TEXT, flags=re.MULTILINE)
    (tmp_path / "openai.key").write_text("a key")
    config = tmp_path / "config.toml"
    config.write_text(bare)
    given = {(path[0], path[-1]) for path in load_with_origins(config, {}).origins}
    assert given == set(known_keys())
    assert {section for section, _ in given} == set(sections())
