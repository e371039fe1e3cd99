"""An embedded PostgreSQL and a small local model, for development, tests and the demo.

Production needs neither. They exist so that the first try, and every test, meets a real PostgreSQL and a
real model, without an installation, an account or a key::

    chatd ──▶ postgres        its data, log, locks and socket in one directory
      └─────▶ model server    llama.cpp with a small model, OpenAI's API, loopback

Both are child processes. Each failure has one effect:

* chatd ends, in whatever way (``kill -9`` too): the kernel signals the children, because they were started
  with a parent-death signal (``parent_death_signal``). No process is left behind.
* A killed run leaves a half-made data directory, a stale pid file or socket, or a temporary directory: the
  next run recognises it by its free lock (``locked_directory``) and removes it.
* A second chatd uses the same data directory: it fails at once, with an error that names the first.
* A child does not start: the error shows the end of its log.
"""

from chatd.embedded.model import LocalModel, local_model, local_model_available
from chatd.embedded.postgres import Postgres, StopMode
from chatd.embedded.subprocesses import EmbeddedError

__all__ = [
    "EmbeddedError",
    "LocalModel",
    "Postgres",
    "StopMode",
    "local_model",
    "local_model_available",
]
