"""Settings as keyword arguments, so that a new key needs no line between its section and its reader."""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

from chatd.settings.types import Section


def keywords_for(consumer: Callable[..., object], *sections: Section) -> dict[str, Any]:
    """Return the values of ``sections`` that ``consumer`` takes as keywords of the same name.

    An actor and a group of limits name their keywords as the configuration names its keys, so both are
    written once. A keyword that no section has is missing in the call, which then fails at the start.
    Raises ``ValueError`` for a keyword that two of the sections have.
    """
    keywords = [
        name
        for name, parameter in signature(consumer).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    ]
    values: dict[str, Any] = {}
    for section in sections:
        for name in type(section).model_fields.keys() & keywords:
            if name in values:
                raise ValueError(f"{name} of {consumer} is a key of two of these sections")
            values[name] = getattr(section, name)
    return values
