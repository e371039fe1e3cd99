"""Migrations work with the previous release: they expand the schema now and contract it a release later.

Processes of both releases share the schema during an upgrade, and none may wait for a table that is
rewritten or indexed. The first migration is older than the first release. A file that is safe for a
reason this test cannot see states it in its header: ``-- contract: reason``.
"""

import re
from collections.abc import Iterator

import pytest

from chatd.store.migrations.files import NO_TRANSACTION, Script, _split_statements, load_migrations

FIRST = 2
"""First migration that may run beside an installed chatd."""

NAME = r'(?:(?:\w+|"[^"]+")\.)?(?P<table>\w+|"[^"]+")'
CREATED = re.compile(
    rf"CREATE (?:(?:TEMP|TEMPORARY|UNLOGGED) )?TABLE (?:IF NOT EXISTS )?{NAME}", re.IGNORECASE
)
INDEX = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX (?P<concurrently>CONCURRENTLY )?.*?\bON (?:ONLY )?{NAME}",
    re.IGNORECASE,
)
ALTERED = re.compile(
    rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?{NAME} ?\*? ?(?P<actions>.*)", re.IGNORECASE
)
DROPPED = re.compile(rf"DROP TABLE (?:IF EXISTS )?{NAME}", re.IGNORECASE)
TYPE = re.compile(r"ALTER TYPE\b", re.IGNORECASE)
ACTIONS = {
    "drops a column": r"DROP (?!CONSTRAINT\b)",
    "renames what the previous release uses": r"RENAME (?!CONSTRAINT\b)",
    "changes a type": r"ALTER (?:COLUMN )?\S+ (?:SET DATA )?TYPE\b",
    "adds a column that the previous release does not fill": r"ADD (?!(?:CONSTRAINT|CHECK|PRIMARY KEY)\b)"
    r"(?!.*\bDEFAULT\b(?! NULL\b)).*\b(?:NOT NULL|PRIMARY KEY)\b",
    "demands a value that the previous release may not fill": r"ALTER (?:COLUMN )?\S+ SET NOT NULL\b",
    "builds an index while the table is locked": r"ADD (?!.*\bUSING INDEX\b).*"
    r"\b(?:UNIQUE|PRIMARY KEY|EXCLUDE)\b",
}
REASON_GIVEN = re.compile(r"^-- contract: +\S", re.MULTILINE)


def broken_rules(script: Script) -> Iterator[str]:
    """Yield the statements that break the previous release or block its queries."""
    head = re.match(r"(?:\s*--[^\n]*(?:\n|$))*", script.sql)
    if head and REASON_GIVEN.search(head[0]):
        return
    new: set[str] = set()
    for _, bare in _split_statements(script.sql):
        for statement in _statements_in(bare):
            if made := CREATED.match(statement):
                new.add(_table(made))
            for rule, table in _broken(statement, transactional=script.transactional):
                if table not in new:
                    yield f"{script.file} {rule}: {statement}"


def _statements_in(bare: str) -> list[str]:
    """Return a statement on one line without literals, or the statements inside DO."""
    if re.match(r"DO\b", bare, re.IGNORECASE):
        inner = re.sub(r"\$\w*\$|'|\b(?:BEGIN|THEN|ELSE|EXECUTE|LOOP)\b", ";", bare)
        return [" ".join(part.split()) for part in inner.split(";")]
    plain = re.sub(r"(?s)\$(\w*)\$.*?\$\1\$|'(?:''|[^'])*'", "''", bare)
    return [" ".join(plain.split())]


def _broken(statement: str, *, transactional: bool) -> Iterator[tuple[str, str | None]]:
    """Yield each rule that a statement breaks, with the table."""
    if dropped := DROPPED.match(statement):
        yield "drops a table", _table(dropped)
    if TYPE.match(statement):
        yield "changes a type", None
    if index := INDEX.match(statement):
        if index["concurrently"] is None:
            yield "builds an index while the table is locked", _table(index)
        elif transactional:
            yield f"needs {NO_TRANSACTION!r} as its first line", None
    if altered := ALTERED.match(statement):
        for action in _actions(altered["actions"].rstrip("; ")):
            for rule, pattern in ACTIONS.items():
                if re.match(pattern, action, re.IGNORECASE):
                    yield rule, _table(altered)


def _table(match: re.Match[str]) -> str:
    return match["table"].strip('"').lower()


def _actions(text: str) -> list[str]:
    """Split a list at its commas, but not at those in parentheses."""
    while (shorter := re.sub(r"\([^()]*\)", " ", text)) != text:
        text = shorter
    return [" ".join(part.split()) for part in text.split(",")]


def test_migrations_do_not_break_the_previous_release() -> None:
    new = [each.up for each in load_migrations() if each.version >= FIRST]
    assert [broken for script in new for broken in broken_rules(script)] == []


GOOD = [
    "CREATE TABLE notes (id bigint NOT NULL PRIMARY KEY); CREATE INDEX notes_id ON notes (id)",
    'CREATE TABLE "Notes" (id int); ALTER TABLE public."Notes" DROP COLUMN id',
    "ALTER TABLE chats ADD COLUMN note text",
    "ALTER TABLE chats ADD note text NOT NULL DEFAULT ''",
    "ALTER TABLE chats ADD COLUMN a int, ADD COLUMN IF NOT EXISTS b int DEFAULT 0 NOT NULL",
    "ALTER TABLE chats ADD CONSTRAINT c CHECK (note IS NOT NULL) NOT VALID",
    "ALTER TABLE chats ADD CHECK (note IS NOT NULL) NOT VALID",
    "ALTER TABLE chats DROP CONSTRAINT c",
    "ALTER TABLE chats RENAME CONSTRAINT c TO d",
    "ALTER TABLE chats ALTER COLUMN note DROP NOT NULL, ALTER note SET DEFAULT 'DROP TABLE x'",
    "ALTER TABLE chats SET (fillfactor = 80)",
    "ALTER TABLE chats ADD CONSTRAINT u UNIQUE USING INDEX chats_u",
    "-- DROP TABLE chats;\nSELECT 1 /* ALTER TABLE chats DROP note */",
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'ALTER TYPE x'; DROP TABLE y $$",
    "COMMENT ON TABLE chats IS 'a; DROP TABLE chats; -- or not'",
    "DO $$ BEGIN PERFORM 1; CREATE TABLE notes (id int); DROP TABLE notes; END $$",
    f"{NO_TRANSACTION}\nCREATE INDEX CONCURRENTLY IF NOT EXISTS n ON chats (note)",
    f"{NO_TRANSACTION}\nCREATE UNIQUE INDEX CONCURRENTLY n ON ONLY public.chats (note)",
    "-- Notes go.\n-- contract: nothing has read them since 0.3\n\nALTER TABLE chats DROP note",
    f"{NO_TRANSACTION}\n-- contract: ten rows\nCREATE INDEX n ON chat_model_configs (name)",
]
BAD = {
    "DROP TABLE chats": "drops a table",
    "drop table if exists\n  public.chats cascade": "drops a table",
    "ALTER TABLE chats DROP COLUMN note": "drops a column",
    "alter table only chats drop if exists note": "drops a column",
    "ALTER TABLE chats ADD COLUMN a numeric(1, 2), DROP note": "drops a column",
    "ALTER TABLE chats RENAME COLUMN a TO b": "renames",
    "ALTER TABLE chats RENAME a TO b": "renames",
    'ALTER TABLE IF EXISTS public."chats" RENAME TO talks': "renames",
    "ALTER TABLE chats ALTER COLUMN version TYPE bigint": "changes a type",
    "ALTER TABLE chats ALTER version SET DATA TYPE bigint": "changes a type",
    "ALTER TYPE mood ADD VALUE 'sad'": "changes a type",
    "ALTER TABLE chats ADD COLUMN note text NOT NULL": "adds a column",
    "ALTER TABLE chats ADD note text CHECK (note <> '') NOT NULL": "adds a column",
    "ALTER TABLE chats ADD COLUMN a int DEFAULT 0, ADD b int NOT NULL": "adds a column",
    "ALTER TABLE chats ADD note text NOT NULL DEFAULT NULL": "adds a column",
    "ALTER TABLE chats ADD note text /* DEFAULT '' */ NOT NULL": "adds a column",
    "ALTER TABLE chats ALTER note SET NOT NULL": "demands",
    "ALTER TABLE chats ADD CONSTRAINT u UNIQUE (note)": "builds an index",
    "ALTER TABLE chats DROP CONSTRAINT chats_pkey, ADD PRIMARY KEY (id)": "builds an index",
    "ALTER TABLE chats ADD COLUMN note text DEFAULT '' UNIQUE": "builds an index",
    "CREATE INDEX n ON chats (note)": "builds an index",
    "CREATE UNIQUE INDEX IF NOT EXISTS n ON public.chats (note)": "builds an index",
    "CREATE INDEX ON chats (note)": "builds an index",
    "CREATE INDEX CONCURRENTLY n ON chats (note)": "needs '-- chatd: no-transaction'",
    f"{NO_TRANSACTION}\nCREATE INDEX n ON chats (note)": "builds an index",
    "CREATE TABLE notes (id int); CREATE INDEX n ON chats (note)": "builds an index",
    "CREATE INDEX n ON notes (id); CREATE TABLE notes (id int)": "builds an index",
    "DO $$ BEGIN IF true THEN ALTER TABLE chats DROP note; END IF; END $$": "drops a column",
    "DO $x$ BEGIN EXECUTE 'DROP TABLE chats'; END $x$": "drops a table",
    "-- contract:\nDROP TABLE chats": "drops a table",
    "SELECT 1;\n-- contract: too late, nobody reads it here\nDROP TABLE chats": "drops a table",
}


@pytest.mark.parametrize("sql", GOOD)
def test_expanding_statements_break_no_rule(sql: str) -> None:
    assert list(broken_rules(Script(file="0003_x.up.sql", sql=sql))) == []


@pytest.mark.parametrize(("sql", "rule"), BAD.items())
def test_contracting_statements_break_a_rule(sql: str, rule: str) -> None:
    (told,) = broken_rules(Script(file="0003_x.up.sql", sql=sql))
    assert told.startswith(f"0003_x.up.sql {rule}")


def test_rules_apply_to_the_real_files() -> None:
    """The rules find something in the down file of the first migration, which drops its tables."""
    down = load_migrations()[0].down
    dropped = re.findall(r"DROP TABLE (\w+);", down.sql)
    assert list(broken_rules(down)) == [
        f"{down.file} drops a table: DROP TABLE {table};" for table in dropped
    ]
    assert "chats" in dropped
