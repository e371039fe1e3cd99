"""Migration files. Nothing here talks to a database.

A migration is a pair of files, ``NNNN_name.up.sql`` and ``NNNN_name.down.sql``, numbered from 0001
without gaps, in plain SQL that psql can run. A file is one transaction, so it has no ``BEGIN`` or
``COMMIT``. A file whose first line is ``-- chatd: no-transaction`` (for ``CREATE INDEX CONCURRENTLY`` and
the like) is run statement by statement, and should be written so that it can be run again.

The checksum covers the up file only, so that a down file can be improved later.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path

from chatd.domain.errors import ChatdError

NO_TRANSACTION = "-- chatd: no-transaction"
_FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.(?P<direction>up|down)\.sql")
_TRANSACTION_CONTROL = re.compile(
    r"(?i)(begin|start|commit|end|rollback|abort|savepoint|release)\b"
)
_TOKEN = re.compile(
    r"""(?sx)
      (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<quoted> (?<!\w)[eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*"
                | \$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$ )
    | (?P<end> ; )
    | (?P<plain> [^;'"$/\-eE]+ | . )
    """
)


class MigrationError(ChatdError):
    """The schema could not be migrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One migration file, with its name and its SQL."""

    file: str
    sql: str

    @property
    def transactional(self) -> bool:
        """True if the file is run in one transaction."""
        return self.sql.partition("\n")[0].strip() != NO_TRANSACTION

    def statements(self) -> list[str]:
        """Return the statements, each with the comments before it and its semicolon."""
        return [text for text, _ in _split_statements(self.sql)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema, with the script that reverts it."""

    version: int
    name: str
    up: Script
    down: Script

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.up.sql.encode()).hexdigest()

    @property
    def label(self) -> str:
        return f"{self.version:04}_{self.name}"


def migrations_folder() -> Traversable:
    """Return the folder of the migrations: in the installed package, or beside it in the repository."""
    installed = files("chatd") / "migrations"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "migrations"


def load_migrations(folder: Traversable | None = None) -> list[Migration]:
    """Return all migrations in order. Raise ``MigrationError`` if a file is malformed or missing."""
    scripts_by_version: dict[int, dict[str, Script]] = {}
    for file in sorted((folder or migrations_folder()).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise MigrationError(
                f"{file.name} is not named NNNN_name.up.sql or NNNN_name.down.sql."
            )
        text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
        script = _reject_transaction_control(Script(file=file.name, sql=text))
        scripts = scripts_by_version.setdefault(int(match["version"]), {})
        if scripts.setdefault(match["direction"], script) != script:
            raise MigrationError(f"There are two migrations {match['version']}: see {file.name}.")
    migrations = [
        _pair_scripts(version, scripts) for version, scripts in sorted(scripts_by_version.items())
    ]
    for before, after in pairwise([0, *scripts_by_version]):
        if after != before + 1:
            raise MigrationError(f"There is no migration {before + 1:04} before {after:04}.")
    return migrations


def _pair_scripts(version: int, scripts: dict[str, Script]) -> Migration:
    names = {
        script.file.removesuffix(f".{direction}.sql")[5:] for direction, script in scripts.items()
    }
    if set(scripts) != {"up", "down"} or len(names) != 1:
        listed = " and ".join(script.file for script in scripts.values())
        raise MigrationError(f"A migration is an up and a down file of one name; found {listed}.")
    return Migration(version=version, name=names.pop(), up=scripts["up"], down=scripts["down"])


def _reject_transaction_control(script: Script) -> Script:
    for _, bare in _split_statements(script.sql):
        if control := _TRANSACTION_CONTROL.match(bare):
            raise MigrationError(
                f"{script.file} must not contain {control[1].upper()}: a migration is one "
                f"transaction, or none if its first line is '{NO_TRANSACTION}'."
            )
    return script


def _split_statements(sql: str) -> Iterator[tuple[str, str]]:
    """Yield each statement as written, and again without comments and outer space."""
    text, bare = "", ""
    for token in _TOKEN.finditer(sql):
        text += token[0]
        if token.lastgroup != "comment" and not token["comment"]:
            bare += token[0]
        if token["end"]:
            if bare.strip(" \n\t;"):
                yield text.strip(), bare.strip()
            text, bare = "", ""
    if bare.strip():
        yield f"{text.strip()}\n;", bare.strip()
