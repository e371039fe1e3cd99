"""Forms for questions of tools: one field for each property of a flat schema, as MCP has them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

_MAX_FIELDS: Final = 50
"""Properties of a schema that become fields. A larger one is answered as JSON."""
_NUMBERS: Final = frozenset({"number", "integer"})


def form_fields(schema: Mapping[str, Any] | None) -> Markup:
    """Return the fields of a form. A schema that is not flat gets one field for JSON."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict) or len(properties) > _MAX_FIELDS:
        return _json_field()
    required = (schema or {}).get("required")
    names = frozenset(required) if isinstance(required, list) else frozenset()
    fields = []
    for name, rule in properties.items():
        field = _field(name, rule, is_required=name in names) if isinstance(rule, dict) else None
        if field is None:
            return _json_field()
        fields.append(field)
    return Markup("\n").join(fields)


def _field(name: str, rule: Mapping[str, Any], *, is_required: bool) -> Markup | None:
    label, kind = _text(rule, "title") or name, rule.get("type", "string")
    hint = _text(rule, "description")
    common = Markup('data-name="{}" data-type="{}" title="{}"').format(name, kind, hint)
    needed = Markup(" required") if is_required else Markup()
    if not isinstance(kind, str):
        return None
    if kind == "boolean":
        checked = Markup(" checked") if rule.get("default") is True else Markup()
        return Markup('<label class="check"><input type="checkbox" {}{}> {}</label>').format(
            common, checked, label
        )
    if kind == "array":
        choices = list(_choices(rule.get("items")))
        return _checkboxes(label, common, choices) if choices else None
    if kind == "string" and (choices := list(_choices(rule))):
        return _select(label, common, choices, needed)
    if kind == "string":
        return Markup("<label>{} <input {}{}></label>").format(label, common, needed)
    if kind in _NUMBERS:
        step = "1" if kind == "integer" else "any"
        return Markup('<label>{} <input type="number" step="{}" {}{}></label>').format(
            label, step, common, needed
        )
    return None


def _select(
    label: str, common: Markup, choices: Sequence[tuple[str, str]], needed: Markup
) -> Markup:
    options = Markup().join(
        Markup('<option value="{}">{}</option>').format(value, words) for value, words in choices
    )
    return Markup("<label>{} <select {}{}>{}</select></label>").format(
        label, common, needed, options
    )


def _checkboxes(label: str, common: Markup, choices: Sequence[tuple[str, str]]) -> Markup:
    boxes = Markup().join(
        Markup('<label class="check"><input type="checkbox" value="{}"> {}</label>').format(*choice)
        for choice in choices
    )
    return Markup("<fieldset {}><legend>{}</legend>{}</fieldset>").format(common, label, boxes)


def _choices(rule: object) -> Iterator[tuple[str, str]]:
    """Yield the values that a rule permits, each with its words."""
    if not isinstance(rule, dict):
        return
    titled = rule.get("oneOf") or rule.get("anyOf")
    if isinstance(titled, list):
        for each in titled:
            if isinstance(each, dict) and isinstance(each.get("const"), str):
                yield each["const"], _text(each, "title") or each["const"]
        return
    values, words = rule.get("enum"), rule.get("enumNames")
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        named = words if isinstance(words, list) and len(words) == len(values) else values
        yield from zip(values, map(str, named), strict=True)


def _text(rule: Mapping[str, Any], key: str) -> str:
    value = rule.get(key)
    return value if isinstance(value, str) else ""


def _json_field() -> Markup:
    return Markup(
        '<label>Answer, as a JSON object <textarea rows="4" data-name="" data-type="json">'
        "{}</textarea></label>"
    )
