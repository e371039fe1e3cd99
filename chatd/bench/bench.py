"""What every measure works with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chatd.bench.crowd import Crowd
from chatd.bench.ground import Ground
from chatd.bench.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A ground to stand on, clients, a folder for what is written, and someone to tell."""

    ground: Ground
    crowd: Crowd
    folder: Path
    plan: Plan
    say: Callable[[str], None]
    """Shown while the measure runs."""
