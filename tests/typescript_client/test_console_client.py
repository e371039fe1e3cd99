"""The client that pages of the console load is the TypeScript client, compiled."""

from importlib.resources import files
from pathlib import Path

from support.node import run

STORED = Path(str(files("chatd.console") / "static" / "client"))


def test_pages_load_the_client_as_it_is(npm: Path, tmp_path: Path) -> None:
    run("node_modules/.bin/tsc", "--project", "tsconfig.console.json", "--outDir", str(tmp_path))
    built = {path.name: path.read_text() for path in tmp_path.glob("*.js")}
    stored = {path.name: path.read_text() for path in STORED.glob("*.js")}
    assert stored == built, "run: make generate"
