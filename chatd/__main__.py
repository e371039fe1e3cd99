"""``python -m chatd``, and the ``chatd`` command: both are the command line's ``main``."""

import os
import sys

from chatd.cli.main import main as run_command

_STANDARD_DESCRIPTORS = (0, 1, 2)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    _open_closed_descriptors()
    sys.exit(run_command())


def _open_closed_descriptors() -> None:
    """Open /dev/null on those of the standard descriptors that the caller closed.

    Otherwise the next socket or file gets the number, and receives what is printed.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) in _STANDARD_DESCRIPTORS:
        os.set_inheritable(fd, True)
    os.close(fd)
    # Python has no stream where there was no descriptor.
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115 - as long as the process
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", errors="backslashreplace")  # noqa: SIM115


if __name__ == "__main__":
    main()
