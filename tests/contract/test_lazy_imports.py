"""``chatd.llm`` imports no SDK until a provider is first used."""

import subprocess
import sys

SDKS = ("openai", "anthropic", "pydantic_ai", "httpx2")
MODULES = (
    "chatd.llm.catalog",
    "chatd.llm.failures.classify",
    "chatd.llm.provider",
    "chatd.llm.vendors.pydantic_ai",
    "chatd.llm.scripted.provider",
)


def test_importing_llm_imports_no_sdk() -> None:
    program = f"import sys, {', '.join(MODULES)}; print(*sys.modules)"
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(SDKS) & set(completed.stdout.split())
