"""Forms for what a tool asks."""

from typing import Any

import pytest

from chatd.console.forms import form_fields


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"type": "string"}, '<input data-name="x" data-type="string" title="">'),
        ({"type": "integer"}, '<input type="number" step="1"'),
        ({"type": "number"}, '<input type="number" step="any"'),
        ({"type": "boolean", "default": True}, 'data-name="x" data-type="boolean" title="" checked> x'),
        ({"type": "string", "enum": ["a"], "enumNames": ["A"]}, '<option value="a">A</option>'),
        ({"oneOf": [{"const": "a", "title": "A"}]}, '<option value="a">A</option>'),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '<input type="checkbox" value="b"> b'),
        ({"type": "string", "title": "<b>"}, "<label>&lt;b&gt; <input"),
        ({"type": "string", "description": '"><script>'}, 'title="&#34;&gt;&lt;script&gt;"'),
    ],
)  # fmt: skip
def test_property_becomes_a_field(rule: dict[str, Any], field: str) -> None:
    assert field in form_fields({"properties": {"x": rule}})


def test_required_field_has_to_be_filled_in() -> None:
    schema = {"properties": {"x": {"type": "string"}, "y": {}}, "required": ["x"]}
    assert form_fields(schema).count(" required") == 1


@pytest.mark.parametrize(
    "schema",
    [
        None, {}, {"properties": 1}, {"properties": {"x": 1}}, {"properties": {"x": {"type": "object"}}},
        {"properties": {"x": {"type": "array"}}}, {"properties": {str(n): {} for n in range(51)}},
        {"properties": {"x": {"type": ["string", "null"]}}},
    ],
)  # fmt: skip
def test_any_other_schema_is_answered_as_json(schema: Any) -> None:
    assert 'data-type="json"' in form_fields(schema)
