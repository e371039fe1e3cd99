"""Answers to questions with a schema, typed field by field."""

from typing import Any

import pytest

from chatd.cli.chat.input_form import InputForm


def form(properties: dict[str, Any], *required: str) -> InputForm:
    schema = {"type": "object", "properties": properties, "required": [*required]}
    return InputForm("Which one?", schema)


def test_fields_are_asked_one_after_the_other_with_their_types() -> None:
    asked = form(
        {
            "colour": {"type": "string", "enum": ["blue", "red"]},
            "count": {"type": "integer"},
            "wrapped": {"type": "boolean"},
            "note": {"type": "string", "description": "For the card"},
            "size": {"enum": [1, 2]},
        },
        "colour",
        "count",
        "wrapped",
        "size",
    )
    assert asked.lines() == [
        "Which one?",
        "colour",
        "1 blue",
        "2 red",
        "Type a number   /decline: no answer",
    ]
    assert asked.take("3") == "Type the number of one of the choices."
    assert asked.take("2") is None
    assert asked.take("many") == "Type a number."
    assert asked.take("3") is None
    assert asked.take("") == "Type y or n."
    assert asked.take("Yes") is None
    assert asked.lines()[1:] == [
        "note: For the card",
        "Type an answer   Enter: none   /decline: no answer",
    ]
    assert asked.take("") is None
    assert not asked.complete
    assert asked.take("2") is None
    assert asked.complete
    assert asked.content == {"colour": "red", "count": 3, "wrapped": True, "size": 2}


def test_one_answer_may_be_a_choice_or_free_text() -> None:
    asked = form({"answer": {"type": "string", "examples": ["tea", "coffee"]}}, "answer")
    assert asked.lines()[1:3] == ["1 tea", "2 coffee"]
    assert asked.lines()[-1] == "Type a number or an answer   /decline: no answer"
    assert asked.take("") == "Type an answer."
    assert asked.take("a juice") is None
    assert asked.content == {"answer": "a juice"}
    titled = form({"x": {"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}]}}, "x")
    assert titled.take("2") is None
    assert titled.content == {"x": "b"}


@pytest.mark.parametrize(
    ("schema", "line", "content"),
    [
        (None, "hello", "hello"),
        ({}, "hello", "hello"),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"properties": "nonsense", "required": 7}, "hello", "hello"),
    ],
)
def test_schema_without_named_fields_is_one_answer(schema: Any, line: str, content: Any) -> None:
    asked = InputForm("What?", schema)
    assert asked.take(line) is None
    assert asked.complete
    assert asked.content == content


def test_value_of_another_type_is_json() -> None:
    asked = form({"list": {"type": ["array", "null"]}, "size": {"type": "number"}}, "list", "size")
    assert asked.take("{") == "Type a value as JSON."
    assert asked.take("[1]") is None
    assert asked.take("nan") == "Type a number."
    assert asked.take("2.5") is None
    assert asked.content == {"list": [1], "size": 2.5}


def test_several_choices_are_typed_as_numbers() -> None:
    several = {"type": "array", "items": {"type": "string", "enum": ["tea", "coffee", "milk"]}}
    asked = form({"answer": several}, "answer")
    assert asked.lines()[1:] == [
        "1 tea",
        "2 coffee",
        "3 milk",
        "Type one or more numbers   /decline: no answer",
    ]
    for wrong in ("", "tea", "0", "4", "1 x"):
        assert asked.take(wrong) == "Type numbers of choices, such as: 1 2"
    assert asked.take("3, 1 3") is None
    assert asked.content == {"answer": ["tea", "milk"]}
