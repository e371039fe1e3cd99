"""Check of the configured MCP servers: what keeps one from starting here, in words."""

import importlib.util
import mmap
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from chatd.settings import Settings
from chatd.tools.mcp.keys import signing_algorithm

_NODE_PROGRAMS = frozenset(
    {"node", "nodejs", "npx", "npm", "pnpm", "pnpx", "yarn", "bun", "bunx", "deno", "tsx"}
)
"""Programs that make machine code while they run, and die where memory may not become executable."""
_SHEBANG_BYTES = 128


def mcp_problems(settings: Settings) -> Iterator[str]:
    """Yield why configured MCP servers cannot start on this machine, as ``key: reason``."""
    if settings.mcp and importlib.util.find_spec("mcp") is None:
        yield "mcp: its servers need the extra mcp: pip install 'chatd[mcp]'"
    for name, server in settings.mcp.items():
        if server.oauth_private_key and not _signs_tokens(server.oauth_private_key):
            yield (
                f"mcp.{name}.oauth_private_key: it is no private key in PEM that signs tokens "
                "(RSA, EC or Ed25519, without a passphrase)"
            )
        if server.command is None:
            continue
        path = shutil.which(server.command)
        if path is None:
            yield f"mcp.{name}.command: there is no program {server.command!r} in PATH that may be executed"
        elif _runs_node(path, server.command) and not _memory_may_become_executable():
            yield (
                f"mcp.{name}.command: {server.command!r} runs Node, which dies where memory may not "
                "become executable, as here. Set MemoryDenyWriteExecute=no in the unit of chatd, or "
                "run the server on its own and give its url"
            )


def _signs_tokens(private_key: SecretStr) -> bool:
    try:
        signing_algorithm(private_key.get_secret_value())
    except ValueError:
        return False
    return True


def _runs_node(path: str, command: str) -> bool:
    """Return whether a program is Node, or a script for it."""
    names = {Path(command).name, Path(path).resolve().name}
    if names & _NODE_PROGRAMS:
        return True
    try:
        with Path(path).open("rb") as file:
            first_line = file.read(_SHEBANG_BYTES).partition(b"\n")[0]
    except OSError:
        return False
    words = first_line.removeprefix(b"#!").decode(errors="replace").replace("/", " ").split()
    return first_line.startswith(b"#!") and not _NODE_PROGRAMS.isdisjoint(words)


def _memory_may_become_executable() -> bool:
    """Return whether this process may have memory that is writable and executable, by trying it."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError:
        return False
    return True
