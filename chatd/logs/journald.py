"""Support for journald: detection of its stream, and priorities of lines.

Sources: systemd.exec(5) on ``$JOURNAL_STREAM``, sd-daemon(3) on the prefixes.
"""

import os
from collections.abc import Mapping
from typing import TextIO

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Number of syslog for each level."""


def is_journal_stream(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether the service manager connected this stream to the journal."""
    try:
        stat = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def with_priority(text: str, level: str) -> str:
    """Put the priority before each line, which journald removes."""
    prefix = f"<{PRIORITIES.get(level, PRIORITIES['info'])}>"
    return prefix + text.replace("\n", f"\n{prefix}")
