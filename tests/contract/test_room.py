"""What holds for the room as a whole."""

import subprocess
import sys

VENDORS = ("openai", "anthropic", "pydantic_ai", "httpx2")


def test_importing_the_room_imports_no_vendor() -> None:
    rooms = "catalog, classify, provider, pydantic_ai, scripted"
    program = f"import sys; from chatd.llm import {rooms}; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not set(VENDORS) & set(ran.stdout.split())
