"""Fixtures of the acceptance tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def traversable_dir() -> Iterator[Path]:
    """Create a folder that the server's account can traverse, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="chatd-test-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder).resolve()
