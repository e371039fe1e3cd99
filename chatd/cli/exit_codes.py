"""Exit codes, so that a service manager knows whether a restart may help.

The numbers are those of sysexits.h where it has a matching one. A restart never cures
``CONFIGURATION`` and ``SCHEMA`` (``RestartPreventExitStatus`` in ``deploy/chatd.service``). It may
cure the others.
"""

from enum import IntEnum

from chatd.domain.errors import (
    ChatdError,
    DatabaseAccessDenied,
    DatabaseUnavailable,
    DatabaseUnsuitable,
    SchemaMismatch,
)


class Exit(IntEnum):
    """Reason why the process ended."""

    DONE = 0
    FAILED = 1
    """Another failure, named in the message, or a bug with its traceback."""
    USAGE = 2
    """Invalid arguments."""
    SCHEMA = 65
    """The schema of the database does not match this chatd."""
    NOT_FOUND = 66
    """No such chat, or it belongs to another owner."""
    SERVER_UNAVAILABLE = 68
    """No chatd responds at the URL."""
    DATABASE_UNAVAILABLE = 69
    """The database is unavailable."""
    RESTART_BUDGET = 70
    """An actor of the daemon failed more often than its restart budget allows."""
    UNAUTHORIZED = 77
    """No token, an invalid one, or one without the required rights."""
    CONFIGURATION = 78
    """Invalid settings, or a database that chatd cannot use."""
    INTERRUPTED = 130
    """Ctrl-C."""


def exit_code_for(error: Exception) -> Exit | None:
    """Return the exit code for an error, or None if the error is a bug."""
    from chatd.llm.errors import ProviderConfigError
    from chatd.settings.report import ConfigurationError
    from chatd.supervision.child import FatalError
    from chatd.supervision.restart_budget import RestartBudgetExceeded

    match error:
        case (
            ConfigurationError()
            | ProviderConfigError()
            | DatabaseAccessDenied()
            | DatabaseUnsuitable()
            | FatalError()
        ):
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
