"""The process of the local model. It is run by path, so that it imports nothing of chatd.

It accepts requests once it has written its address into the file of its first argument, and ends on TERM.
The signal is blocked before the server starts its threads, so that it reaches ``sigwait`` and none of them.
The page for browsers and the listings of slots and prompts are off, because other users of the host can
reach loopback. The cache of prompts is small.
"""

import signal
import sys
from pathlib import Path

import xllamacpp

_PROMPT_CACHE_MIB = 256
_WARNINGS = 2


def start(
    weights: str, model: str, context_tokens: int, max_parallel_requests: int, threads: int
) -> xllamacpp.Server:
    """Load the weights and listen on a free port of loopback. Returns when it accepts requests."""
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.model_alias = {model}
    params.n_ctx = context_tokens
    params.n_parallel = max_parallel_requests
    params.kv_unified = True
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.cors_origins = "http://127.0.0.1"
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = _WARNINGS
    return xllamacpp.Server(params)


def main(address_file: str, weights: str, model: str, *numbers: str) -> None:
    """Serve until TERM. ``numbers`` are the integer arguments of ``start``."""
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    server = start(weights, model, *map(int, numbers))
    unfinished = Path(f"{address_file}.new")
    unfinished.write_text(f"{server.listening_address}/v1")
    unfinished.rename(address_file)
    signal.sigwait(stop)
    del server  # stops the threads of the server, in order


if __name__ == "__main__":
    main(*sys.argv[1:])
