"""The documentation: generated tables are up to date, links resolve, and what it names exists."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatd.client
from chatd.cli.exit_codes import Exit
from chatd.cli.main import COMMANDS
from chatd.logs.events import log_events
from chatd.settings.keys import known_keys
from chatd.telemetry.metrics import Metrics
from docs import generate

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "clients" / "typescript" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as repository browsers and the site spell them."""
    plain = (re.sub(r"[^\w\s-]", "", one.lower()).strip() for one in HEADING.findall(prose(page)))
    return {re.sub(r"[-\s]+", "-", one) for one in plain}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_generated_tables_are_up_to_date() -> None:
    outdated = [name(page) for page in generate.pages()]
    assert not outdated, "run 'make generate'"


def test_every_generated_place_has_a_generator() -> None:
    places = {
        found
        for page in PAGES
        for found in re.findall(r"<!-- generated: (\w+) -->", page.read_text())
    }
    assert places == set(generate.TABLES)


def nav_pages(node: object) -> Iterator[str]:
    """Yield the pages of the site's navigation."""
    match node:
        case str():
            yield node
        case dict():
            for inner in node.values():
                yield from nav_pages(inner)
        case list():
            for inner in node:
                yield from nav_pages(inner)


def test_every_page_is_in_the_navigation_once() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text())
    listed = [*nav_pages(site["project"]["nav"])]
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_decision_record_is_in_the_list() -> None:
    folder = DOCS / "architecture" / "decisions"
    listed = set(LINK.findall((folder / "index.md").read_text()))
    assert listed == {page.name for page in folder.glob("0*.md")}


def test_the_readme_is_short_and_has_its_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 200
    commands = [line for line in lines if line.startswith("python3 -m venv .venv && ")]
    assert [re.search(r"bin/(chatd demo|pytest .*)$", line) is not None for line in commands] == [
        True
    ] * 2


def test_every_exit_code_is_documented() -> None:
    page = (DOCS / "operations" / "exit-codes.md").read_text()
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == [str(int(code)) for code in Exit]


def test_commands_in_the_documentation_exist() -> None:
    """Words after ``chatd`` at the beginning of a command, inside code."""
    unknown = {
        (name(page), word)
        for page in PAGES
        for word in re.findall(r"(?:^\$ |`|&& |bin/)chatd ([a-z]+)", page.read_text(), re.MULTILINE)
        if word not in COMMANDS
    }
    assert not unknown


def names_in_code(page: Path) -> set[str]:
    """Return what a page has in code style, outside of code blocks."""
    return set(re.findall(r"`([^`\n]+)`", prose(page)))


def test_dotted_names_are_settings_or_log_events() -> None:
    """A key or an event that is renamed is renamed in the documentation too."""
    keys = {f"{section}.{field}" for section, field in known_keys()}
    prefixes = {one.partition(".")[0] for one in keys | log_events().keys()}
    unknown = {
        (name(page), found)
        for page in PAGES
        for found in names_in_code(page)
        if re.fullmatch(r"[a-z]+\.[a-z_]+", found)
        and found.partition(".")[0] in prefixes
        and found not in keys | log_events().keys()
    }
    assert not unknown


def test_metrics_in_the_documentation_exist() -> None:
    metrics = {one.name for one in Metrics()}
    unknown = {
        (name(page), found)
        for page in PAGES
        for found in names_in_code(page)
        if re.fullmatch(r"chatd_[a-z_]+", found) and found not in metrics
    }
    assert not unknown


def is_path(found: str) -> bool:
    """Return whether ``found`` is a path in the repository, or a module below ``chatd``."""
    path = found.rstrip("/")
    candidates = (
        ROOT / path,
        ROOT / "chatd" / path,
        ROOT / "chatd" / f"{path}.py",
        ROOT / f"{path}.py",
    )
    return any(candidate.exists() for candidate in candidates)


def test_paths_and_modules_in_the_documentation_exist() -> None:
    """The vocabulary page lists former modules, so its table is left out."""
    folders = {
        path.name for path in (*ROOT.iterdir(), *(ROOT / "chatd").iterdir()) if path.is_dir()
    }
    unknown = set()
    for page in PAGES:
        if page.name == "vocabulary.md":
            continue
        for found in names_in_code(page):
            path = found.replace(".", "/") if re.fullmatch(r"chatd(\.\w+)+", found) else found
            is_candidate = re.fullmatch(r"[\w.]+(/[\w.-]+)+/?", path) is not None
            if is_candidate and path.partition("/")[0] in folders and not is_path(path):
                unknown.add((name(page), found))
    assert not unknown


def test_every_kind_of_test_is_described() -> None:
    page = (DOCS / "development" / "testing.md").read_text()
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert not [folder for folder in sorted(folders) if f"`tests/{folder}`" not in page]


def test_modules_on_the_vocabulary_page_exist() -> None:
    page = (DOCS / "development" / "vocabulary.md").read_text()
    rows = re.findall(r"^\| `[\w.]+` \| (`[\w.`, ]+`) \|$", page, re.MULTILINE)
    modules = [module for row in rows for module in re.findall(r"[\w.]+", row)]
    assert len(modules) > 100
    paths = (module.replace(".", "/") for module in modules)
    assert not [path for path in paths if not (is_path(path) or is_path(f"tests/{path}"))]


def test_names_on_the_python_client_page_exist() -> None:
    page = DOCS / "guides" / "python-client.md"
    names = {found for found in names_in_code(page) if re.fullmatch(r"[A-Z][A-Za-z]+", found)}
    assert len(names) > 10
    assert not [found for found in names - {"None"} if not hasattr(chatd.client, found)]
