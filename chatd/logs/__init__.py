"""The log: one line per event, with fields, always to standard error; and ``chatd logs`` to read it.

Standard output belongs to what a command answers (the reply of ``demo``, the script of ``migrate
sql``, ``--json``), so that it can be piped while the log is watched; service managers and
containers collect both. On a terminal the lines are coloured for eyes, elsewhere each is one JSON
object: ``timestamp`` (ISO 8601, UTC), ``level``, ``event``, ``logger``, ``worker_id`` and the
event's own fields. Under journald each begins with its priority, which journald takes off again.

Rooms take a logger with ``structlog.get_logger()`` and never import this room, which is told at start
what to do (``configure``), and again on a reload: level, format and stream can change under loggers
that are cached already. Event names are dotted and lower-case, and all stand in ``events.toml`` with
their fields, what they mean and what to do about them; a test holds that table against the code.
What is bound to a context (``structlog.contextvars``) is on each line that is written in it:
``request_id`` while a request is answered, ``chat_id`` and ``epoch`` while a chat is worked on.

A line of a library that logs prose has the event ``library.message`` and its text in ``message``;
libraries are heard from ``warning`` up (``info`` when the level is ``debug``), because at their own
debug level the SDKs print requests, and with them what people wrote.

Logging never raises, never prints a secret and never a word of what was said in a chat:

* Every string goes through ``secrets``: what is configured as a secret is replaced wherever it turns
  up, what looks like one too, and keys that are named like one are hidden.
* An exception shows its type and its frames. Its message is shown only if it is of a kind that speaks
  of the program and not of its data (``exceptions``): a ``ValueError`` may quote anything. A chat's
  own failure stands in its ``last_error``, for those who may see the chat.
* What cannot be serialised is shown as text, and a stream that is gone swallows the line.

``writing`` puts a line together, ``fit`` makes values fit for it, ``is_journal`` knows journald, ``uncaught``
logs what Python would have printed. The other half reads: ``reading`` (bytes to lines, whatever is in
them), ``wanted`` (which ones), ``background_subscriber`` (files that grow and rotate), ``shown`` (for eyes); ``times``
serves both.
"""

from chatd.logs.configure import bind_process, configure
from chatd.logs.redaction import register_secrets
from chatd.logs.uncaught import log_uncaught

__all__ = ["bind_process", "configure", "log_uncaught", "register_secrets"]
