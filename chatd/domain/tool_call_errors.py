"""The words of tool results that are not the tool's own. A model reads them, so they are an interface."""

from collections.abc import Iterable, Mapping
from typing import Final

from chatd.domain.message import Part
from chatd.domain.question import QuestionKind
from chatd.domain.tool_call import CallState, ToolResult

OUTCOME_UNKNOWN: Final = (
    "The server stopped while this ran. It may or may not have had its effect; it was not run again. "
    "Check before you repeat it."
)
"""Result of a call that another worker started and did not close."""

RESULT_LOST: Final = (
    "The endpoint knows nothing of this call. It may or may not have had its effect; it was not run "
    "again. Check before you repeat it."
)
"""Result of a call whose endpoint was asked for its result."""

CANCELLED_BEFORE_START: Final = "Cancelled by the user before it started."

CANCELLED: Final[Mapping[str, str]] = {
    CallState.ASKED.value: "cancelled",
    CallState.READY.value: CANCELLED_BEFORE_START,
    CallState.PARKED.value: "Cancelled by the user while it waited.",
    "other": "Cancelled by the user while it ran; it may have had effects.",
}
"""Results of calls that are open when their turn is interrupted, by state. One of the server that is asked
counts as ready, since it was not started either. One whose tool asked for input was, whatever its state."""

MAX_OUTPUT_SO_FAR: Final = 16 * 1024
"""Characters of a call's output that are kept while it runs: the last ones."""

NOT_ANSWERED: Final[Mapping[str, str]] = {
    QuestionKind.RESULT.value: "timed out",
    QuestionKind.APPROVAL.value: "Nobody answered in time, so this did not run.",
    QuestionKind.INPUT.value: "Nobody answered in time.",
}
"""Results of calls that were asked and not answered in time, by the kind of the question."""

TURN_FAILED: Final[Mapping[str, str]] = {
    CallState.ASKED.value: "The turn failed before this was answered.",
    CallState.READY.value: "The turn failed before this started.",
    CallState.PARKED.value: "The turn failed while this waited.",
    "other": (
        "The turn failed while this ran. It may or may not have had its effect; it was not run again. "
        "Check before you repeat it."
    ),
}
"""Results of calls that are open when their turn fails, by state."""


def no_such_tool(name: str) -> str:
    """Return the result of a call of a tool that does not exist."""
    return f"There is no tool named {name}."


def denied(name: str) -> str:
    """Return the result of a call that a rule denies."""
    return f"This server does not allow {name} here."


def refused(reason: str | None) -> str:
    """Return the result of a call that a person did not allow."""
    return (
        f"The user did not allow this call: {reason}"
        if reason
        else "The user did not allow this call."
    )


def dismissed(*, declined: bool) -> str:
    """Return the result of a question that a person declined to answer, or closed without an answer."""
    return "The user declined to answer." if declined else "The user closed this without an answer."


def asks_too_often(questions: int) -> str:
    """Return the result of a call whose tool asked for input again and again."""
    return f"The tool asked {questions} times for input and did not end. It may have had effects."


def bad_arguments(complaint: str) -> str:
    """Return the result of a call whose arguments do not fit the tool's schema."""
    return f"The arguments do not fit the tool: {complaint}"


def too_slow(seconds: float, output: str = "") -> str:
    """Return the result of a call that was stopped because its time was over."""
    return _with_output(f"Stopped after {seconds:g} s. It may have had effects.", output)


def interrupted_results(live_parts: Iterable[Part]) -> tuple[ToolResult, ...]:
    """Return the results of calls that were interrupted, as far as the live parts show some output."""
    return tuple(
        ToolResult(
            tool_call_id=part["tool_call_id"],
            result=cancelled_while_running(output[-MAX_OUTPUT_SO_FAR:]),
            is_error=True,
        )
        for part in live_parts
        if part["type"] == "tool-progress"
        and (output := part.get("text") or part.get("message") or "")
    )


def cancelled_while_running(output: str) -> str:
    """Return the result of a call whose turn was interrupted while it ran."""
    return _with_output(CANCELLED["other"], output)


def _with_output(text: str, output: str) -> str:
    return f"{text} Output so far:\n{output}" if output else text


def tool_panicked(error: BaseException) -> str:
    """Return the result of a call that raised what no tool should raise."""
    return f"The tool failed: {type(error).__name__}. It may have had effects."


def is_outcome_unknown(result: object) -> bool:
    """Return whether a result says that nobody knows if the call had its effect."""
    words = (OUTCOME_UNKNOWN, RESULT_LOST, TURN_FAILED["other"])
    return isinstance(result, str) and result.startswith(words)
