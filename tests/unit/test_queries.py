"""Named queries and their named parameters, as ``store.sql`` reads them."""

import ast
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from chatd.store import sql
from chatd.store.claim_on_send import NO_CLAIM
from chatd.store.executor import NO_ACTOR
from chatd.store.idempotency import NO_KEY
from chatd.store.sql import QueryError

FILES = sorted(
    file.name.removesuffix(".sql")
    for file in (resources.files("chatd.store") / "queries").iterdir()
    if file.name.endswith(".sql")
)


def query(body: str) -> sql.Query:
    return sql.parse("chats", f"-- About the file.\n\n-- name: send\n{body}")["send"]


@pytest.mark.parametrize("file", FILES)
def test_a_query_has_a_number_for_each_of_its_parameters(file: str) -> None:
    queries = sql.load(file)
    assert queries
    for name, one in queries.items():
        assert one.name == f"{file}.{name}"
        legend, _, statement = one.text.partition("\n")
        code = re.sub(r"--[^\n]*", "", statement)
        used = {int(number) for number in re.findall(r"\$(\d+)", code)}
        assert used == set(range(1, len(one.parameters) + 1))
        assert legend == f"-- {one.name}({_legend(one)})"
        assert not re.search(r"(?<!:):[a-z_]", code)


@pytest.mark.parametrize("file", FILES)
def test_a_line_of_sql_has_at_most_100_characters(file: str) -> None:
    text = (resources.files("chatd.store") / "queries" / f"{file}.sql").read_text("utf-8")
    assert [line for line in text.splitlines() if len(line) > 100] == []


def _legend(one: sql.Query) -> str:
    return ", ".join(f"${n} {name}" for n, name in enumerate(one.parameters, start=1))


def test_parameters_are_numbered_in_the_order_of_their_first_use() -> None:
    one = query("SELECT :b, :a, :b WHERE x = :c::text;\n")
    assert one.parameters == ("b", "a", "c")
    assert one.text == "-- chats.send($1 b, $2 a, $3 c)\nSELECT $1, $2, $1 WHERE x = $3::text"


@pytest.mark.parametrize(
    "text",
    ["'a :b ''c'' :d'", '"a :b ""c"" :d"', "x::text", "1 -- as :b says\n", "ARRAY[1]::int[]"],
)
def test_quotes_comments_and_casts_have_no_parameters(text: str) -> None:
    one = query(f"SELECT {text}")
    assert one.parameters == ()
    assert one.text == f"-- chats.send()\nSELECT {text}".rstrip()


def test_binding_orders_the_values_by_the_numbers() -> None:
    one = query("SELECT :chat_id, :owner_id")
    assert one.bind(owner_id="alice", chat_id=1) == (one.text, (1, "alice"))


def test_a_null_is_a_value() -> None:
    assert query("SELECT :chat_id").bind(chat_id=None)[1] == (None,)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, r"^Parameters of chats\.send are missing: chat_id, owner_id\.$"),
        ({"chat_id": 1}, r"^Parameters of chats\.send are missing: owner_id\.$"),
        ({"chat_id": 1, "owner_id": 2, "x": 3}, r"^Parameters of chats\.send are unknown: x\.$"),
        (
            {"chat_id": 1, "x": 3},
            r"^Parameters of chats\.send are missing: owner_id and unknown: x\.$",
        ),
    ],
)
def test_a_call_must_give_exactly_the_parameters(values: dict[str, int], problem: str) -> None:
    one = query("SELECT :chat_id, :owner_id")
    with pytest.raises(QueryError, match=problem):
        one.bind(**values)
    with pytest.raises(QueryError, match=problem):
        one.check(values)


def test_a_query_without_parameters_takes_none() -> None:
    one = query("SELECT 1")
    assert one.bind() == (one.text, ())
    with pytest.raises(QueryError, match="unknown: x"):
        one.bind(x=1)


def test_positional_parameters_are_refused() -> None:
    with pytest.raises(QueryError, match=r"chats\.send has the positional parameter \$2"):
        query("SELECT :a, $2")


def test_two_queries_of_one_name_are_refused() -> None:
    with pytest.raises(QueryError, match=r"queries/chats\.sql has two queries named a"):
        sql.parse("chats", "-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")


def _calls(module: Path) -> Iterator[tuple[sql.Query, set[str], bool]]:
    """Yield each call of a store module with a query, its keywords, and whether more are unpacked."""
    tree = ast.parse(module.read_text("utf-8"))
    files = {
        target.id: node.value.args[0].value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("sql.load(")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        bound = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        for argument in (*node.args, *bound):
            match argument:
                case ast.Subscript(ast.Name(id=variable), ast.Constant(value=str(name))):
                    if variable in files:
                        keywords = {keyword.arg for keyword in node.keywords if keyword.arg}
                        unpacks = any(keyword.arg is None for keyword in node.keywords)
                        yield sql.load(files[variable])[name], keywords, unpacks


def test_calls_pass_exactly_the_parameters_of_their_query() -> None:
    modules = Path(str(resources.files("chatd.store"))).rglob("*.py")
    found = [call for module in modules for call in _calls(module)]
    assert len(found) > 40
    for called, keywords, unpacks in found:
        passed = keywords
        if "history" in passed:  # of ``execute_claiming``
            passed = passed - {"history"} | NO_CLAIM.keys()
        if "key" in passed and "key" not in called.parameters:  # of a ``TransitionExecutor``
            passed = passed - {"key"} | NO_KEY.keys()
        if "actor" in passed:
            passed = passed - {"actor"} | NO_ACTOR.keys()
        assert passed <= set(called.parameters), called.name
        assert unpacks or passed == set(called.parameters), called.name
