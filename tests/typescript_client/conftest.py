"""Fixtures of the TypeScript client, which is built once. Its tests are skipped without Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.node import CLIENT_DIR, run

INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000")
INSTALL_SECONDS = 300


@pytest.fixture(scope="session")
def npm() -> Path:
    """Return the folder of the client, with its build dependencies."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("the TypeScript client needs node and npm")
    if not (CLIENT_DIR / "node_modules" / ".bin" / "tsc").exists():
        try:
            run(*INSTALL, timeout_seconds=INSTALL_SECONDS)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm could not fetch what the TypeScript client's build needs: {error}")
    return CLIENT_DIR


@pytest.fixture(scope="session")
def built(npm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the compiled client and its tests."""
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    run("node_modules/.bin/tsc", "--project", "tsconfig.test.json", "--outDir", str(folder))
    return folder
