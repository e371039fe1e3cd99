"""Arguments of tool calls, checked; and URLs made of them."""

import re
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.tools.arguments import BadArguments, InvalidSchema, argument_check, parse_arguments
from chatd.tools.http.url_template import BadUrlArgument, expand, template_problem

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 7}},
    "required": ["city"],
    "additionalProperties": False,
}
CHECK = argument_check(SCHEMA)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"city": ', "not JSON"),
        ("[]", "not an object"),
        ('"x"', "not an object"),
        ('{"city": NaN}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("", '"city" is a required property'),
        ('{"city": 1}', "city: 1 is not of type"),
        ('{"city": "x", "days": 8}', "days: 8 is greater"),
        ('{"city": "x", "no": 1}', "no"),
    ],
)
def test_arguments_that_do_not_fit(text: str, complaint: str) -> None:
    with pytest.raises(BadArguments, match=re.escape(complaint)):
        parse_arguments(text, CHECK)


def test_complaint_is_short() -> None:
    with pytest.raises(BadArguments) as caught:
        parse_arguments('{"city": [' + '"x",' * 10_000 + '"x"]}', CHECK)
    assert len(str(caught.value)) < 600


def test_arguments_that_fit() -> None:
    assert parse_arguments('{"city": "Bern", "days": 2}', CHECK) == {"city": "Bern", "days": 2}
    assert parse_arguments('{"city": "\\ud800"}', CHECK) == {"city": "\N{REPLACEMENT CHARACTER}"}
    assert parse_arguments("", argument_check({"type": "object"})) == {}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string"},
        {"type": "object", "properties": {"a": {"type": "no such"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
        {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/schema"}}},
    ],
)
def test_schema_that_is_none(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidSchema):
        argument_check(schema)


def test_pattern_takes_time_in_proportion_to_the_text() -> None:
    check = argument_check(
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    )
    began = time.perf_counter()
    with pytest.raises(BadArguments):
        check({"a": "a" * 50_000 + "!"})
    assert time.perf_counter() - began < 5, "a backtracking engine would take years"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("https://example.com/{a}?b={b}", None),
        ("ftp://example.com/", "http"),
        ("https:///x", "host"),
        ("https://{host}/x", "path and the query only"),
        ("https://example.com:{port}/x", ""),
        ("https://example.com/{a", "not closed"),
        ("https://example.com/a}", "not closed"),
        ("https://example.com/{}", "not the name"),
        ("https://example.com/{a.b}", "not the name"),
        ("https://example.com/ x", "character"),
        ("https://example.com/#x", "fragment"),
    ],
)
def test_templates(template: str, problem: str | None) -> None:
    found = template_problem(template)
    assert (found is None) == (problem is None)
    assert problem is None or problem in str(found)


TEMPLATE = "https://example.com/a/{x}/b?q={x}&k=1"


@given(st.text(max_size=30) | st.integers() | st.booleans() | st.floats())
def test_argument_stays_in_its_place(value: Any) -> None:
    try:
        url = expand(TEMPLATE, {"x": value})
    except BadUrlArgument:
        assert value in {"", ".", ".."}
        return
    parts = urlsplit(url)
    assert (parts.netloc, parts.fragment) == ("example.com", "")
    _, first, segment, last = parts.path.split("/")
    assert (first, last) == ("a", "b")
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
    assert unquote(segment) == text
    assert parts.query == f"q={segment}&k=1"


@pytest.mark.parametrize("value", [None, [], {}, "", ".", "..", "\ud800"])
def test_value_that_cannot_stand_in_a_url(value: Any) -> None:
    with pytest.raises(BadUrlArgument, match=r"^x: "):
        expand(TEMPLATE, {"x": value})
