"""Migration files: their names, their pairs, and the statements in them."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.migration_files import write_files

from chatd.store.migrations import files
from chatd.store.migrations.files import load_migrations
from chatd.store.migrations.migrate import MigrationError


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"1_x.up.sql": ""}, "1_x.up.sql is not named NNNN_name"),
        ({"0001_x.up.sql": ""}, "an up and a down file of one name; found 0001_x.up.sql"),
        ({"0001_x.up.sql": "", "0001_y.down.sql": ""}, "0001_x.up.sql and 0001_y.down.sql"),
        ({"0002_x.up.sql": "", "0002_x.down.sql": ""}, "no migration 0001 before 0002"),
        (
            {"0001_x.up.sql": "A", "0001_y.up.sql": "B", "0001_x.down.sql": ""},
            "two migrations 0001",
        ),
        (
            {"0001_x.up.sql": "SELECT 1; /* so */ commit;", "0001_x.down.sql": ""},
            "must not contain COMMIT",
        ),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(MigrationError) as caught:
        load_migrations(write_files(tmp_path / "wrong", files))
    assert words in str(caught.value)


def test_statements_are_split_as_by_postgres() -> None:
    sql = """-- a; comment
    CREATE TABLE "odd;name" (x text DEFAULT 'it''s; fine', y text DEFAULT E'\\';');
    /* not; this */
    CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$ BEGIN; RETURN $$;$$; END $body$;;
    SELECT 1 -- last, without its semicolon"""
    script = files.Script(file="x", sql=sql)
    starts = [statement.split("\n")[-1].split()[0] for statement in script.statements()]
    assert len(starts) == 3
    assert script.statements()[2].startswith("SELECT 1 -- last")
    assert script.statements()[2].endswith("\n;")
    assert script.transactional
    assert not replace(script, sql="-- chatd: no-transaction\n" + sql).transactional
