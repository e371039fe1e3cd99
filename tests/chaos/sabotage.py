"""Guarantees taken out of a copy of chatd, one at a time, to see the audit notice it.

``python -m chaos --sabotage NAME`` runs such a copy. docs/development/testing.md has what was found.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from chaos.plan import Kind

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One place of the code, and what stands there instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sabotage:
    """A guarantee that is taken out, and the rules of which at least one has to find it.

    ``faults`` are the kinds that need the guarantee.
    """

    name: str
    edits: tuple[Edit, ...]
    faults: frozenset[Kind] = frozenset(Kind)
    found_by: frozenset[str]

    def copy_to(self, folder: Path) -> Path:
        """Copy chatd to a folder, edit the copy, and return the folder."""
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("chatd", "migrations"):
            shutil.copytree(_ROOT / name, folder / name, ignore=ignored)
        for edit in self.edits:
            path = folder / edit.file
            text = path.read_text()
            if text.count(edit.old) != 1:
                raise ValueError(f"{self.name}: {edit.file} has {text.count(edit.old)} such places")
            path.write_text(text.replace(edit.old, edit.new))
        return folder
