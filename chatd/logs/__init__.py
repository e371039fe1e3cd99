"""The log: one line per event, with fields, always to standard error.

Standard output belongs to the results of commands (the answer of ``demo``, the script of ``migrate
sql``, ``--json``), so that it can be piped while the log is read. Service managers and containers
collect both. On a terminal the lines are coloured text. Elsewhere each is one JSON object:
``timestamp`` (ISO 8601, UTC), ``level``, ``event``, ``logger``, ``worker_id`` and the event's own
fields. Under journald each line begins with its priority, which journald removes.

Other packages get a logger with ``structlog.get_logger()`` and never import this one. The entry point
calls ``configure`` at start and on a reload: level, format and stream also change for loggers that
are cached already. Event names are dotted and lower-case. ``events.toml`` lists them all with fields,
description and action, and a test compares that table with the code. Fields bound to a context
(``structlog.contextvars``) are on each line of it: ``request_id`` during a request, ``chat_id`` and
``epoch`` during the work on a chat.

A library that uses ``logging`` has the event ``library.message`` with its text in ``message``. Only
its messages from ``warning`` up are logged (``info`` if the level is ``debug``), because at their
debug level the SDKs print requests, and with them the content of chats.

Logging never raises, and never writes a secret or any content of a chat:

* ``redaction`` cleans every string: configured secrets, texts that look like a secret, and fields
  with the name of one.
* An exception shows its type and its frames. Its message is shown only if its type describes the
  program and not the data (``exceptions``), because a ``ValueError`` may quote anything. The failure
  of a chat is in its ``last_error``, for the owner of the chat.
* A value that cannot be serialized is shown as text, and a closed stream drops the line.

``configure`` assembles a line, ``serialize`` makes values fit for it, ``journald`` detects the
journal, and ``uncaught`` logs the exceptions that Python would print. ``chatd.cli.logs`` is the
reader.
"""

from chatd.logs.configure import bind_process, configure
from chatd.logs.redaction import register_secrets
from chatd.logs.uncaught import log_uncaught, log_unhandled

__all__ = ["bind_process", "configure", "log_uncaught", "log_unhandled", "register_secrets"]
