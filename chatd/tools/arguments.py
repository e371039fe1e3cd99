"""Arguments of a tool call: JSON as the model wrote it, checked against the tool's schema."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from chatd.domain.sanitize import replace_unstorable_json

MAX_COMPLAINT_LENGTH: Final = 500
"""Characters of a complaint that the model is shown. It may quote the arguments."""


class BadArguments(Exception):
    """The arguments of a call do not fit. The message says why, for the model."""


ArgumentCheck = Callable[[Mapping[str, Any]], None]
"""Function that raises ``BadArguments``."""


def accept_arguments(_: Mapping[str, Any]) -> None:
    """Accept any arguments: the tool checks them itself."""


class InvalidSchema(ValueError):
    """A JSON schema is not one, or refers to something outside itself."""


def argument_check(schema: Mapping[str, Any]) -> ArgumentCheck:
    """Return the check for a schema. Raise ``InvalidSchema``.

    Nothing is fetched that a schema refers to. A pattern takes time in proportion to the text, since the
    text is a model's.
    """
    import jsonschema_rs  # noqa: PLC0415 - takes 40 ms, and most processes have no tools

    if schema.get("type") != "object":
        raise InvalidSchema('its type must be "object"')
    try:
        validator = jsonschema_rs.validator_for(
            dict(schema), pattern_options=jsonschema_rs.RegexOptions(), offline=True
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise InvalidSchema(_first_line(str(error))) from None

    def check(args: Mapping[str, Any]) -> None:
        try:
            validator.validate(args)
        except jsonschema_rs.ValidationError as error:
            place = ".".join(map(str, error.instance_path))
            complaint = _first_line(error.message)
            raise BadArguments(f"{place}: {complaint}" if place else complaint) from None

    return check


def parse_arguments(text: str, check: ArgumentCheck) -> dict[str, Any]:
    """Return the arguments of a call. Raise ``BadArguments``. No text is no arguments."""
    try:
        args = json.loads(text or "{}", parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise BadArguments("they are not JSON") from None
    if not isinstance(args, dict):
        raise BadArguments("they are not an object")
    args = dict(
        replace_unstorable_json(args)
    )  # an escape in the JSON may be half of a surrogate pair
    check(args)
    return args


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:MAX_COMPLAINT_LENGTH]
