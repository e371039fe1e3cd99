"""``python -m chatd``, and the ``chatd`` command: both are the command line's ``main``."""

import sys

from chatd.cli.main import main as run_command


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run_command())


if __name__ == "__main__":
    main()
