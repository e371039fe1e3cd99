"""Folders of tests with packages from npm, fetched when they are not there yet."""

import fcntl
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from support.node import run

OPENAI_DIR = Path(__file__).parents[1] / "adapters" / "openai"
"""Clients that speak OpenAI's dialect, each version under a name of its own."""
AI_SDK_DIR = Path(__file__).parents[1] / "adapters" / "ai_sdk" / "node"
"""The AI SDK in the versions that chatd serves, each under a name of its own."""
AI_SDK_EXAMPLE_DIR = Path(__file__).parents[2] / "examples" / "ai-sdk"
_INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000")


def require_packages(folder: Path) -> None:
    """Skip the test if the packages of a folder are neither there nor to be had."""
    if not _fetched(folder):
        pytest.skip(f"npm could not fetch the packages of {folder.name}")


@cache
def _fetched(folder: Path) -> bool:
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one run may want them at the same time
        return _fetch(folder)


def _fetch(folder: Path) -> bool:
    if (folder / "node_modules" / ".package-lock.json").exists():
        return True
    if not (shutil.which("node") and shutil.which("npm")):
        return False
    try:
        run(*_INSTALL, folder=folder)
    except (AssertionError, subprocess.TimeoutExpired):
        return False
    return True
