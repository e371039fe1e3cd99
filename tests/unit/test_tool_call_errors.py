"""The words that a model reads of calls without a result of their own: an interface."""

from chatd.domain import tool_call_errors as errors


def test_words() -> None:
    assert errors.OUTCOME_UNKNOWN == (
        "The server stopped while this ran. It may or may not have had its effect; it was not run "
        "again. Check before you repeat it."
    )
    assert errors.CANCELLED == {
        "asked": "cancelled",
        "ready": "Cancelled by the user before it started.",
        "parked": "Cancelled by the user while it waited.",
        "other": "Cancelled by the user while it ran; it may have had effects.",
    }
    assert errors.NOT_ANSWERED == {
        "result": "timed out",
        "approval": "Nobody answered in time, so this did not run.",
        "input": "Nobody answered in time.",
    }
    assert errors.denied("x") == "This server does not allow x here."
    assert errors.refused(None) == "The user did not allow this call."
    assert errors.refused("no") == "The user did not allow this call: no"
    assert errors.dismissed(declined=True) == "The user declined to answer."
    assert errors.dismissed(declined=False) == "The user closed this without an answer."
    assert errors.TURN_FAILED == {
        "asked": "The turn failed before this was answered.",
        "ready": "The turn failed before this started.",
        "parked": "The turn failed while this waited.",
        "other": "The turn failed while this ran. It may or may not have had its effect; it was not "
        "run again. Check before you repeat it.",
    }
    assert errors.no_such_tool("x") == "There is no tool named x."
    assert errors.bad_arguments("no") == "The arguments do not fit the tool: no"
    assert errors.too_slow(2.5) == "Stopped after 2.5 s. It may have had effects."
    assert errors.too_slow(3, "one\ntwo") == (
        "Stopped after 3 s. It may have had effects. Output so far:\none\ntwo"
    )
    assert errors.cancelled_while_running("") == errors.CANCELLED["other"]
    assert errors.cancelled_while_running("one") == (
        "Cancelled by the user while it ran; it may have had effects. Output so far:\none"
    )
    assert errors.tool_panicked(KeyError("secret")) == (
        "The tool failed: KeyError. It may have had effects."
    )
