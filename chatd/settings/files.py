"""Reading of the files of a configuration: text of a bounded size, as editors of any system write it."""

import tomllib
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

MAX_CONFIG_BYTES = 2**20
"""Size of a TOML file. A thousand models with settings of their own take a fifth of it."""
MAX_SECRET_BYTES = 2**16
"""Size of a secret's file. Servers accept headers of 8 to 64 kB in total."""


def read_text(path: Path, *, max_bytes: int) -> str:
    """Return the text of a file, without a byte order mark and with Unix line ends.

    Raises ``ValueError`` with the reason.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from None
    if len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes} bytes")
    try:
        return TextIOWrapper(BytesIO(content), "utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start + 1})") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the document of a TOML file. Raises ``ValueError`` with the reason."""
    text = read_text(path, max_bytes=MAX_CONFIG_BYTES)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except ValueError as error:
        raise ValueError(f"not valid TOML: {error}") from None


def read_secret(path: Path) -> str:
    """Return the text of a secret's file, without the line ends that editors add."""
    try:
        text = read_text(path, max_bytes=MAX_SECRET_BYTES).rstrip("\r\n")
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    if not text:
        raise ValueError(f"{path} is empty")
    return text
