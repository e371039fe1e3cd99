"""Types and events of the Python client are those of the API's document."""

import json
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints, is_typeddict

import pytest

from chatd.client import events, types
from chatd.client.stream_event import UnknownEvent

CLIENTS = Path(__file__).parents[2] / "clients"
SCHEMAS = json.loads((CLIENTS / "openapi.json").read_text())["components"]["schemas"]
TYPED_DICTS = {name: hint for name, hint in vars(types).items() if is_typeddict(hint)}


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(CLIENTS))
    import generate_python  # noqa: PLC0415

    yield generate_python
    del sys.modules["generate_python"]


def test_committed_modules_equal_generated_ones(generator: Any) -> None:
    for path, text in generator.modules().items():
        assert path.read_text() == text, "run: python clients/generate_python.py"


def test_every_schema_has_a_type_of_its_name() -> None:
    declared = {*vars(types), *vars(events)}
    assert SCHEMAS.keys() - declared == {"Draining"}, "the client answers this event itself"


@pytest.mark.parametrize("name", TYPED_DICTS)
def test_keys_of_a_type_are_the_properties_of_its_schema(name: str) -> None:
    hint, schema = TYPED_DICTS[name], SCHEMAS[name]
    assert get_type_hints(hint).keys() == schema.get("properties", {}).keys()
    assert {*hint.__required_keys__} == {*schema.get("required", ())}


def test_vocabularies_are_those_of_the_document() -> None:
    named = {name: schema["enum"] for name, schema in SCHEMAS.items() if "enum" in schema}
    words = {"BusyBehavior", "FailureKind", "ReasonCode", "Role", "Status"}
    assert named.keys() == words | {
        "CallPolicy",
        "CallState",
        "ContextLimitSource",
        "Decision",
        "Executor",
        "Permission",
        "PermissionMode",
        "QuestionKind",
    }
    assert {name: [*get_args(getattr(types, name))] for name in named} == named


def test_generated_expressions(generator: Any) -> None:
    document = {
        "components": {
            "schemas": {
                "ChatEvent": {"oneOf": []},
                "ChatListEvent": {"oneOf": []},
                "Named": {"type": "object", "title": "Named", "properties": {}},
            }
        }
    }
    expression = generator.Types(document).expression
    nullable = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert expression({"$ref": "#/components/schemas/Named"}) == "Named"
    assert expression({"title": "Named", "type": "object", "properties": {}}) == "Named"
    assert expression({"type": "array", "items": nullable}) == "list[int | None]"
    assert (
        expression({"type": "object", "additionalProperties": {"type": "number"}})
        == "dict[str, float]"
    )
    assert expression({"type": "string", "enum": ["a", "b"]}) == "Literal['a', 'b']"
    assert expression({"const": "a", "type": "string"}) == "Literal['a']"
    assert expression({}) == "Any"


@pytest.mark.parametrize(
    ("union", "table"),
    [
        ("ChatEvent", events.CHAT_EVENTS),
        ("ChatListEvent", events.CHAT_LIST_EVENTS),
    ],
)
def test_event_classes_are_those_of_the_document(union: str, table: Any) -> None:
    mapping = SCHEMAS[union]["discriminator"]["mapping"]
    names = {wire: reference.rpartition("/")[2] for wire, reference in mapping.items()}
    del names["draining"]
    assert {wire: kind.__name__ for wire, kind in table.items()} == names
    assert {*get_args(getattr(events, union))} == {*table.values(), UnknownEvent}


def test_package_is_marked_as_typed() -> None:
    """PEP 561: without this file a type checker treats everything of an installed chatd as Any."""
    assert (files("chatd") / "py.typed").is_file()
