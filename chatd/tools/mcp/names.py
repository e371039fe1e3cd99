"""Names of tools as models see them: those of their servers, made unique and short enough."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

MAX_NAME_LENGTH: Final = 64
"""Characters of a name. OpenAI and Anthropic take no more, and only letters, digits, ``_`` and ``-``."""
SEPARATOR: Final = "__"
_HASH_LENGTH: Final = 8
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")


def offered_names(server: str, tools: Iterable[str]) -> Mapping[str, str]:
    """Return the tools of a server by the names that models see: ``server__tool``.

    A name that had to be changed, or that two tools would have, ends with a hash of the tool's own name. So
    it depends on no other tool and on no order, except that a tool whose name fits as it is keeps it.
    """
    names: dict[str, str] = {}
    changed: list[str] = []
    for tool in dict.fromkeys(tools):
        name = f"{server}{SEPARATOR}{tool}"
        if _UNFIT.search(name) or len(name) > MAX_NAME_LENGTH:
            changed.append(tool)
        else:
            names[name] = tool
    for tool in changed:
        names.setdefault(_hashed_name(server, tool), tool)
    return names


def _hashed_name(server: str, tool: str) -> str:
    digest = hashlib.sha256(tool.encode(errors="surrogatepass")).hexdigest()[:_HASH_LENGTH]
    readable = _UNFIT.sub("_", f"{server}{SEPARATOR}{tool}")
    return f"{readable[: MAX_NAME_LENGTH - _HASH_LENGTH - 1]}_{digest}"
