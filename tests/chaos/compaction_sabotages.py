"""The guarantees of compactions that can be taken out."""

from chaos.plan import Kind
from chaos.sabotage import Edit, Sabotage

OF_COMPACTIONS = (
    Sabotage(
        name="end-of-a-summary",
        edits=(
            Edit(
                file="chatd/worker/compaction/boundary.py",
                old="    if start is None or all(",
                new="    start = next((n for n in range(len(dialogue) - 1, 0, -1)\n"
                "                  if pending_tool_calls(dialogue[:n])), start)\n"
                "    if start is None or all(",
            ),
        ),
        faults=frozenset({Kind.TOOLS_SLOW}),
        found_by=frozenset({"summaries_end_between_calls"}),
    ),
    Sabotage(
        name="turns-that-only-compact",
        edits=(
            Edit(
                file="chatd/worker/compaction/compactor.py",
                old="if request is None or request.idle_version is None:",
                new="if request is None or request.idle_version is not None:",
            ),
        ),
        faults=frozenset({Kind.TOOLS_SLOW}),
        found_by=frozenset({"compactions_leave_stopped_what_was_stopped"}),
    ),
)
