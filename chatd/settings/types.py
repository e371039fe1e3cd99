"""Base class and field types of the settings models."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from chatd.store.database_url import InvalidDatabaseUrl, parse
from chatd.store.tls_files import file_problems

T = TypeVar("T")

KeyPath = tuple[str, ...]
"""``(section, key)``, or ``(section, name, key)`` in a section of named tables."""

RELOADABLE = object()
Reloadable = Annotated[T, RELOADABLE]
"""Type of a key or section that SIGHUP reloads. All others need a restart."""

STRICT = ConfigDict(
    extra="forbid",
    frozen=True,
    allow_inf_nan=False,
    hide_input_in_errors=True,
    validate_default=True,
    use_attribute_docstrings=True,
)
"""Configuration of all settings models: unknown keys are errors, and no error holds a secret."""

_MAX_NUMBER = 2**31 - 1
"""Largest number of a setting: PostgreSQL's integer holds it, and every timer (as seconds: 68 years)."""
_MAX_BYTES = 2**53 - 1
"""Largest size in bytes: JSON of any reader holds it."""
_TABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""Names that fit a TOML key, a variable and a file name."""


class Section(BaseModel):
    """Base class of a table of settings."""

    model_config = STRICT

    @field_validator("*")
    @classmethod
    def _check_magnitude(cls, value: Any, info: ValidationInfo) -> Any:
        is_size = (info.field_name or "").endswith("_bytes")
        largest = _MAX_BYTES if is_size else _MAX_NUMBER
        if isinstance(value, int | float) and value > largest:
            raise ValueError(f"must be at most {largest}")
        return value


def check_rules(violations: Iterable[tuple[KeyPath, str]]) -> None:
    """Raise one error for all violations, each the key relative to the model and the reason."""
    if listed := list(violations):
        text = "; ".join(f"{'.'.join(path)}: {reason}" for path, reason in listed)
        raise PydanticCustomError("rules", "{text}", {"text": text, "violations": listed})


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_database_url(url: SecretStr) -> SecretStr:
    try:
        problems = list(file_problems(parse(url.get_secret_value())))
    except InvalidDatabaseUrl as error:
        problems = error.problems
    if problems:
        raise ValueError(f"{'; '.join(problems)} (its value is not shown)")
    return url


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not have control characters or other invisible ones")
    return text


def _check_table_name(name: str) -> str:
    if not _TABLE_NAME.fullmatch(name):
        raise ValueError(
            "a name is made of at most 200 letters, digits, dots, dashes and underscores"
        )
    return name


NonEmptyText = Annotated[
    str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_check_printable)
]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_check_database_url)]
TableName = Annotated[str, AfterValidator(_check_table_name)]
