"""The program of ``examples/openai``, run as its page says."""

import os
import subprocess
import sys
from pathlib import Path

import anyio.to_thread
from support.completions import completion_daemon
from support.openai_clients import openai_options

PROGRAM = Path(__file__).parents[2] / "examples" / "openai" / "answer.py"


async def test_program_prints_the_answer(module_dsn: str) -> None:
    with completion_daemon(module_dsn) as shared:
        async with shared.as_new_owner() as chatd:
            options = openai_options(chatd)
            environment = {
                **os.environ,
                "CHATD_URL": options["base_url"].removesuffix("/v1"),
                "CHATD_TOKEN": options["api_key"],
                "CHATD_MODEL": "one",
            }
            ran = await anyio.to_thread.run_sync(
                lambda: subprocess.run(
                    [sys.executable, PROGRAM, "Why is the sky blue?"],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
            )
    assert (ran.stdout, ran.returncode) == ("You said: Why is the sky blue?\n", 0), ran.stderr
