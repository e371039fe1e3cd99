"""A database and a model of chatd's own, for development, tests and the demo.

Nothing here is needed in production. It is here so that the first try, and every test, meets a real
PostgreSQL and a real model, without an installation, an account or a key.

    chatd ── tether ──▶ postgres        its data, log, locks and socket in one folder
      └───── tether ──▶ model server    llama.cpp with a small model, OpenAI dialect, loopback

What each failure does:

* chatd ends, in whatever way (``kill -9`` too): the kernel signals the child, because it was
  started with a parent-death signal (``tether``). Nothing stays behind.
* What a killed run left (a half-made data folder, a stale pid file or socket, a temporary folder)
  is recognised by its free lock (``folder``) and cleared by the next run.
* Two chatd on one data folder: the second is refused, by name, at once.
* The child does not start: the error shows the end of its log.
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
