"""Exit codes, so that a service manager can tell what a restart may cure.

They are sysexits' where it has a word for it. ``CONFIGURATION`` and ``SCHEMA`` come back however
often the process is restarted (``RestartPreventExitStatus`` in ``deploy/chatd.service``); the others
may not.
"""

from enum import IntEnum

from chatd.domain.errors import (
    ChatdError,
    DatabaseAccessDenied,
    DatabaseUnavailable,
    SchemaMismatch,
)


class Exit(IntEnum):
    """Why the process ended."""

    DONE = 0
    FAILED = 1
    """Something else that the message names, or a bug, with its traceback."""
    USAGE = 2
    """The command line makes no sense."""
    SCHEMA = 65
    """The database's schema does not fit this chatd."""
    NOT_FOUND = 66
    """There is no such chat, or it is somebody else's."""
    SERVER_UNAVAILABLE = 68
    """No chatd answers at the address."""
    DATABASE_UNAVAILABLE = 69
    """The database could not be reached."""
    RESTART_BUDGET = 70
    """A part of the daemon failed more often than it may."""
    UNAUTHORIZED = 77
    """No token, or none that counts."""
    CONFIGURATION = 78
    """The settings are not usable."""
    INTERRUPTED = 130
    """By Ctrl-C."""


def exit_code_for(error: Exception) -> Exit | None:
    """The code of an error that chatd knows how to name; ``None`` means a bug."""
    from chatd.llm.errors import ProviderConfigError
    from chatd.settings.report import ConfigurationError
    from chatd.supervision.child import FatalError
    from chatd.supervision.restart_budget import RestartBudgetExceeded

    match error:
        case ConfigurationError() | ProviderConfigError() | DatabaseAccessDenied() | FatalError():
            return Exit.CONFIGURATION
        case SchemaMismatch():
            return Exit.SCHEMA
        case DatabaseUnavailable():
            return Exit.DATABASE_UNAVAILABLE
        case RestartBudgetExceeded():
            return Exit.RESTART_BUDGET
        case ChatdError():
            return Exit.FAILED
        case _:
            return None
