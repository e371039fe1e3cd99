"""No test may wait for a process without end, or leave one running."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
FILES = sorted(path for path in TESTS.rglob("*.py") if "support" not in path.parts)


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node


def test_run_has_a_timeout() -> None:
    unbounded = [
        f"{path.relative_to(TESTS)}:{call.lineno}"
        for path in FILES
        for call in calls(path)
        if ast.unparse(call.func) == "subprocess.run"
        and "timeout" not in {keyword.arg for keyword in call.keywords}
    ]
    assert not unbounded


def test_popen_is_left_to_support() -> None:
    """``support.child_process`` and ``support.processes`` kill their children at the end."""
    found = [
        f"{path.relative_to(TESTS)}:{call.lineno}"
        for path in FILES
        for call in calls(path)
        if ast.unparse(call.func) in {"subprocess.Popen", "Popen"}
    ]
    assert not found
