"""Constructors of response models without validation: their values are chatd's own, and typed."""

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar, cast

from pydantic import BaseModel

P = ParamSpec("P")
ModelT = TypeVar("ModelT", bound=BaseModel)

_set: Final = object.__setattr__


def constructor(model: Callable[P, ModelT]) -> Callable[P, ModelT]:
    """Return a function that makes a response ``model``, in a third of the time if it gets all fields.

    It does what ``model_construct`` does, which takes as long as the validation.
    """
    made_class = cast("type[ModelT]", model)
    fields = set(made_class.model_fields)

    def construct(*args: P.args, **values: P.kwargs) -> ModelT:
        if len(values) != len(fields):  # some have defaults
            return model(*args, **values)
        made = made_class.__new__(made_class)
        _set(made, "__dict__", values)
        _set(made, "__pydantic_fields_set__", fields)
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made

    return construct
