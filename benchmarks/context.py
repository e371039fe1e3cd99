"""The context that every measure gets."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.databases import BenchDatabases
from benchmarks.load_client import LoadClient
from benchmarks.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchContext:
    """Databases, clients, a folder for files, the profile, and a callback for progress."""

    databases: BenchDatabases
    clients: LoadClient
    folder: Path
    profile: Profile
    report_progress: Callable[[str], None]
    """Shown while the measure runs."""
    other: str | None = None
    """The Python of another installation of chatd, to compare with."""
