"""Children of a test that react to Ctrl-C and never outlive it."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def child_process(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a process, and kill it at the end if it still runs. ``options`` are those of ``Popen``."""
    with sigint_not_ignored():
        process = subprocess.Popen(command, **options)
    with process:  # closes its pipes, and waits: bounded, since it was killed
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def sigint_not_ignored() -> Iterator[None]:
    """Have the processes that start in the block react to SIGINT.

    A test run that is a background job of a script, or of some CI runners, inherits SIGINT as ignored, and
    so would its children. A handler is not inherited: it becomes the default action.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
