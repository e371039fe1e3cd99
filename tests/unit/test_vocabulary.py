"""Retired words and names, and docstrings that open with a clause, stay out of the project."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RETIRED = tomllib.loads((ROOT / "tests/support/retired_words.toml").read_text("utf-8"))
IDENTIFIERS = frozenset(RETIRED["identifiers"].split())
CONTRACT = frozenset(RETIRED["contract"].split())
PHRASES: list[str] = RETIRED["phrases"]
FIRST_WORDS: list[str] = RETIRED["first_words"]
FOLDERS = {
    "chatd": (".py", ".sql", ".toml"),
    "migrations": (".sql",),
    "docs": (".md", ".py"),
    "benchmarks": (".py",),
    "deploy": (".py", ".yaml", ".json", ".service", ".socket"),
    "clients/typescript/src": (".ts",),
}
PAGES_WITH_OLD_NAMES = ("docs/development/vocabulary.md", "docs/architecture/decisions/")


def _pattern(words: Iterable[str], flags: int = 0) -> re.Pattern[str]:
    """Return a pattern of whole words. A line break with a comment sign counts as a space."""
    space = r"(?:\s+(?:#|--|\*)\s+|\s+)"
    alternatives = "|".join(re.escape(word).replace(r"\ ", space) for word in words)
    return re.compile(rf"(?<![\w.-])(?:{alternatives})(?![\w-])", flags)


CONTRACT_NAME = _pattern(sorted(CONTRACT))
PHRASE = _pattern(PHRASES, re.IGNORECASE)


def paths(folder: str, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of a folder that must not have retired words."""
    for path in sorted((ROOT / folder).rglob("*")):
        name = str(path.relative_to(ROOT))
        if path.suffix in suffixes and not name.startswith(PAGES_WITH_OLD_NAMES):
            yield path


def text_findings(text: str) -> Iterator[str]:
    """Yield the retired names and phrases in a text, each with its line."""
    for pattern in (CONTRACT_NAME, PHRASE):
        for match in pattern.finditer(text):
            yield f"{text.count(chr(10), 0, match.start()) + 1}: {' '.join(match[0].split())!r}"


def python_findings(source: str) -> Iterator[str]:
    """Yield the retired identifiers and the docstrings with a forbidden first word."""
    for node in ast.walk(ast.parse(source)):
        for name in _names(node):
            if name.strip("_") in IDENTIFIERS:
                yield f"{getattr(node, 'lineno', '')}: {name!r}"
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = str(node.value.value)
            if (first := re.match(r"\w*", text.strip())) and first[0] in FIRST_WORDS:
                yield f"{node.lineno}: docstring begins with {first[0]!r}"


def _names(node: ast.AST) -> Iterator[str]:
    """Yield the identifiers that a node itself has."""
    match node:
        case (
            ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name)
        ):
            yield name.rpartition(".")[2]
        case ast.keyword(arg=str(name)):
            yield name
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case _:
            return


def findings(path: Path) -> Iterator[str]:
    text = path.read_text("utf-8")
    yield from text_findings(text)
    if path.suffix == ".py":
        yield from python_findings(text)


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_has_no_retired_word(folder: str) -> None:
    found = [f"{path}:{line}" for path in paths(folder, FOLDERS[folder]) for line in findings(path)]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_page_has_no_retired_word(page: str) -> None:
    assert list(findings(ROOT / page)) == []


@pytest.mark.parametrize("name", sorted(IDENTIFIERS))
def test_retired_identifier_is_found(name: str) -> None:
    snippets = (
        f"class {name}: pass",
        f"def {name}(): pass",
        f"async def _{name}(): pass",
        f"x.{name}",
        f"def f({name}): pass",
        f"f({name}=1)",
        f"from x import {name}",
    )
    for snippet in snippets:
        assert any(name in finding for finding in python_findings(snippet)), snippet


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_retired_public_name_is_found(name: str) -> None:
    for text in (f"See `{name}`.", f"-- {name}\n", f'x["{name}"]', f"{name} = 1"):
        assert list(text_findings(text)) == [f"1: {name!r}"], text


@pytest.mark.parametrize("phrase", PHRASES)
def test_retired_phrase_is_found(phrase: str) -> None:
    lines = phrase.replace(" ", "\n    # ")
    for text in (f"A chat {phrase}.", f'"""{phrase.capitalize()} it is."""', f"# so {lines}, too"):
        assert list(text_findings(text)), text


@pytest.mark.parametrize("word", sorted(FIRST_WORDS))
def test_forbidden_first_word_is_found(word: str) -> None:
    for source in (
        f'"""{word} is it."""',
        f'def f():\n    """{word} is it."""',
        f'class A:\n    """\n    {word} is it."""',
        f'A = 1\n"""{word} is it."""',
    ):
        assert list(python_findings(source)), source


def test_present_words_are_not_found() -> None:
    """Words that contain a retired one, or have it in a path or a compound, are no finding."""
    text = "chatd.llm.vendors, `vendors/`, in-line code, warehouse, handle, storms, to_json"
    assert list(text_findings(text)) == []
    assert list(python_findings("from chatd.llm import vendors\nhandler.to_json(handle=1)")) == []
