"""The guarantees that can be taken out."""

from chaos.compaction_sabotages import OF_COMPACTIONS
from chaos.family_sabotages import OF_FAMILIES
from chaos.plan import Kind
from chaos.sabotage import Edit, Sabotage
from chaos.tool_sabotages import OF_TOOLS

_HINTS_LOST = frozenset({Kind.DROP_HINTS})
_CUTS = frozenset({Kind.CUT_ALL, Kind.TERMINATE_BACKENDS})

_ALL = (
    Sabotage(
        name="fence",
        edits=(
            Edit(
                file="chatd/store/queries/turns.sql",
                old="""
    WHERE id = :chat_id AND worker_id = :worker_id AND epoch = :epoch
      AND committed_steps = :step AND status = :from_status
    FOR NO KEY UPDATE""",
                new="""
    WHERE id = :chat_id AND (true OR worker_id = :worker_id OR epoch = :epoch)
      AND committed_steps = :step AND status = :from_status
    FOR NO KEY UPDATE""",
            ),
            # What else keeps a stale worker from writing, most of the time:
            Edit(
                file="chatd/worker/lease.py",
                old="        if self.cause is Cause.LOST or self.remaining_seconds <= 0:",
                new="        if self.cause is Cause.LOST:",
            ),
            Edit(
                file="chatd/worker/chat_tasks.py",
                old="            if lease.remaining_seconds <= 0:\n",
                new="            if lease.remaining_seconds <= -1e6:\n",
            ),
            Edit(
                file="chatd/worker/chat_tasks.py",
                old="            elif lease.chat.status in LEASED and not lease.transition_in_flight:\n",
                new="            elif lease.chat is None:\n",
            ),
        ),
        faults=frozenset({Kind.PAUSE, Kind.BLACK_HOLE}),
        found_by=frozenset({"epochs_have_one_worker", "answers_come_from_the_lease"}),
    ),
    Sabotage(
        name="second-look",
        edits=(
            Edit(
                file="chatd/worker/witness.py",
                old="SECONDS_BETWEEN_LOOKS = 0.8",
                new="SECONDS_BETWEEN_LOOKS = 0.0",
            ),
            Edit(
                file="chatd/store/queries/reaps.sql",
                old="""
       OR w.heartbeat_at IS NOT DISTINCT FROM t.heartbeat_at
), locked AS MATERIALIZED (""",
                new="""
       OR w.heartbeat_at IS NOT NULL
), locked AS MATERIALIZED (""",
            ),
        ),
        faults=_CUTS,
        found_by=frozenset({"reaped_workers_were_dead_or_silent"}),
    ),
    Sabotage(
        name="polls-of-streams",
        edits=(
            Edit(
                file="chatd/streaming/chat_poller.py",
                old="is_poll = now - polled_at >= self._poll_seconds * _POLL_TOLERANCE",
                new="is_poll = False",
            ),
        ),
        faults=_HINTS_LOST,
        found_by=frozenset({"subscribers_show_what_is_stored"}),
    ),
    Sabotage(
        name="part-of-an-answer",
        edits=(
            Edit(
                file="chatd/worker/model_call.py",
                old="                    elif is_storable_fragment(delta.part):\n",
                new="                    elif delta.part.get('text') == ' cut':\n"
                "                        pass\n"
                "                    elif is_storable_fragment(delta.part):\n",
            ),
        ),
        found_by=frozenset({"answers_are_what_the_model_sent"}),
    ),
    Sabotage(
        name="part-of-a-stream",
        edits=(
            Edit(
                file="chatd/streaming/event_reader.py",
                old="            events += self._preview.events_after(self.cursor)\n",
                new="            events += [event for event in self._preview.events_after(self.cursor)\n"
                "                       if event.data.get('text') != ' cut']\n",
            ),
        ),
        found_by=frozenset({"joined_deltas_are_the_message"}),
    ),
    Sabotage(
        name="part-of-a-cursor",
        edits=(
            Edit(
                file="chatd/domain/cursor.py",
                old="                    return cls(version, epoch, part, sent)",
                new="                    return cls(version, epoch, 0 * part, sent)",
            ),
        ),
        # Slow answers, so that many streams are resumed in the middle of one.
        faults=frozenset({Kind.RESET_CLIENTS, Kind.MODEL_SLOW}),
        found_by=frozenset({"joined_deltas_are_the_message"}),
    ),
    Sabotage(
        name="idempotency-keys",
        edits=(
            Edit(
                file="chatd/store/idempotency.py",
                old="    if key is None:\n        return NO_KEY",
                new="    if key is None or key.key:\n        return NO_KEY",
            ),
        ),
        faults=frozenset({Kind.RESET_CLIENTS, Kind.LOSE_RESPONSE}),
        found_by=frozenset({"accepted_messages_are_stored_once", "created_chats_exist_once"}),
    ),
    Sabotage(
        name="epoch",
        edits=(
            Edit(
                file="chatd/store/queries/claims.sql",
                old="""
        epoch = c.epoch + 1,
        started_at = clock_timestamp(),
        heartbeat_at = clock_timestamp(),
        pending_since""",
                new="""
        epoch = GREATEST(c.epoch, 1),
        started_at = clock_timestamp(),
        heartbeat_at = clock_timestamp(),
        pending_since""",
            ),
        ),
        found_by=frozenset({"journals_have_no_gap_and_match_the_row"}),
    ),
    Sabotage(
        name="outage",
        edits=(
            Edit(
                file="chatd/worker/claimer.py",
                old="expected_errors=(DatabaseUnavailable,)",
                new="expected_errors=()",
            ),
        ),
        faults=_CUTS,
        found_by=frozenset({"no_process_ends_by_itself", "logs_have_no_exception"}),
    ),
)
SABOTAGES = {
    sabotage.name: sabotage for sabotage in (*_ALL, *OF_TOOLS, *OF_FAMILIES, *OF_COMPACTIONS)
}
