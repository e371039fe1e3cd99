"""The guarantees of tools that can be taken out."""

from chaos.plan import Kind
from chaos.sabotage import Edit, Sabotage

_LOST_WORKERS = frozenset({Kind.KILL, Kind.TERMINATE, Kind.PAUSE})
_SLOW_TOOLS = frozenset({Kind.TOOLS_SLOW})

OF_TOOLS = (
    Sabotage(
        name="calls-that-run-once",
        edits=(
            Edit(
                file="chatd/worker/next_step.py",
                old="call.policy is CallPolicy.IDEMPOTENT and call.tries < MAX_TRIES",
                new="call.tries < MAX_TRIES",
            ),
        ),
        faults=_LOST_WORKERS,
        found_by=frozenset({"tools_run_as_often_as_they_may"}),
    ),
    Sabotage(
        name="key-of-a-call",
        edits=(
            Edit(
                file="chatd/worker/tool_execution.py",
                old='f"{self.call.message_id}/{self.call.id}")',
                new='f"{self.call.message_id}/{self.call.id}/{self.call.epoch}")',
            ),
        ),
        found_by=frozenset({"effects_belong_to_calls"}),
    ),
    Sabotage(
        name="choice-of-tools",
        edits=(
            Edit(
                file="chatd/worker/turn_tools.py",
                old="choice = NO_CHOICE if chosen is None else ToolChoice(chosen)",
                new="choice = NO_CHOICE",
            ),
        ),
        found_by=frozenset({"effects_are_of_chosen_tools"}),
    ),
    Sabotage(
        name="answers-that-stand",
        edits=(
            Edit(
                file="chatd/store/queries/actions.sql",
                old="WHEN problems.decided IS NOT NULL THEN 'already_answered'",
                new="WHEN problems.decided IS NOT NULL AND false THEN 'already_answered'",
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"accepted_answers_stand"}),
    ),
    Sabotage(
        name="denials",
        edits=(
            Edit(
                file="chatd/domain/answer.py",
                old="        if self.allowed:\n            return",
                new="        if True:\n            return",
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"asked_calls_run_only_when_allowed"}),
    ),
    Sabotage(
        name="changed-arguments",
        edits=(
            Edit(
                file="chatd/store/tool_call_records.py",
                old="args=_given_args(row),",
                new="args=None,",
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"allowed_calls_have_the_arguments_given"}),
    ),
    Sabotage(
        name="answers-to-questions",
        edits=(
            Edit(
                file="chatd/domain/answer.py",
                old="            return {**answer, **_closed(self.content, is_error=False)}",
                new='            return {**answer, **_closed("yes", is_error=False)}',
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"accepted_answers_stand"}),
    ),
    Sabotage(
        name="policy-of-mcp",
        edits=(
            Edit(
                file="chatd/tools/mcp/tool.py",
                old="CallPolicy.IDEMPOTENT if tool.idempotent else CallPolicy.AT_MOST_ONCE",
                new="CallPolicy.IDEMPOTENT",
            ),
        ),
        faults=_LOST_WORKERS,
        found_by=frozenset({"tools_run_as_often_as_they_may"}),
    ),
    Sabotage(
        name="rest-of-a-result",
        edits=(
            Edit(
                file="chatd/worker/result_reading.py",
                old="{span.total_bytes}{kept}:\\n{text}",
                new="{span.total_bytes}{kept}:\\n{text[1:]}",
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"read_results_are_what_the_tools_put_out"}),
    ),
    Sabotage(
        name="end-of-calls",
        edits=(
            Edit(
                file="migrations/0001_chats.up.sql",
                old="AND words ?| ARRAY[chat_tool_call_word(t), 'other'];",
                new="AND words ?| ARRAY[chat_tool_call_word(t)];",
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"ledgers_are_closed_at_rest"}),
    ),
    Sabotage(
        name="stored-results",
        edits=(
            Edit(
                file="migrations/0001_chats.up.sql",
                old="AND t.completed_at IS NULL\n      AND words ?|",
                new="AND t.message_id = ANY(messages)\n      AND words ?|",
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"stored_results_are_kept"}),
    ),
    Sabotage(
        name="results-of-tools",
        edits=(
            Edit(
                file="chatd/worker/tool_execution.py",
                old="tool_call_id=self.call.id, result=text,",
                new="tool_call_id=self.call.id, result=text[:-1],",
            ),
        ),
        found_by=frozenset({"results_are_what_the_tools_answered"}),
    ),
    Sabotage(
        name="known-outcomes",
        edits=(
            Edit(
                file="chatd/worker/next_step.py",
                old="            if call.epoch == epoch:\n",
                new="            if call.epoch == epoch and call.policy is CallPolicy.IDEMPOTENT:\n",
            ),
        ),
        found_by=frozenset({"unknown_outcomes_have_a_lost_worker"}),
    ),
    Sabotage(
        name="stop-of-a-tool",
        edits=(
            Edit(
                file="chatd/worker/tool_execution.py",
                old="        self._progress.end()\n        self._scope.cancel()\n",
                new="        self._progress.end()\n",
            ),
            # What else ends it soon after:
            Edit(
                file="chatd/worker/tool_execution.py",
                old="self.seconds = tools.timeout_seconds(call.name)",
                new="self.seconds = tools.timeout_seconds(call.name) + 20",
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"nothing_runs_after_a_stop"}),
    ),
    Sabotage(
        name="time-of-a-tool",
        edits=(
            Edit(
                file="chatd/worker/tool_execution.py",
                old="self.seconds = tools.timeout_seconds(call.name)",
                new="self.seconds = tools.timeout_seconds(call.name) + 20",
            ),
        ),
        faults=_SLOW_TOOLS,
        found_by=frozenset({"tools_end_in_time"}),
    ),
)
