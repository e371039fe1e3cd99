"""Response models that are made without validation."""

from pydantic import BaseModel, Field

from chatd.api.schema.construct import constructor


class Note(BaseModel):
    text: str
    lines: list[str]
    author: str | None = Field(default=None)


def test_model_is_that_of_its_own_constructor() -> None:
    made = constructor(Note)(text="a", lines=["b"], author="c")
    assert made == Note(text="a", lines=["b"], author="c")
    assert made.model_dump_json() == '{"text":"a","lines":["b"],"author":"c"}'
    assert made.model_dump(exclude_unset=True) == made.model_dump()


def test_defaults_are_those_of_the_model() -> None:
    made = constructor(Note)(text="a", lines=[])
    assert made == Note(text="a", lines=[])
    assert made.author is None


def test_models_share_nothing_that_one_of_them_changes() -> None:
    construct = constructor(Note)
    first, second = (construct(text=text, lines=[], author=None) for text in "ab")
    first.text = "c"
    assert (first.text, second.text) == ("c", "b")
