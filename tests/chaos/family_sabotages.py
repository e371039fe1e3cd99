"""The guarantees of forks, regenerated answers and agents that can be taken out."""

from chaos.plan import Kind
from chaos.sabotage import Edit, Sabotage

OF_FAMILIES = (
    Sabotage(
        name="id-of-an-agent",
        edits=(
            Edit(
                file="chatd/worker/agents.py",
                old="            id=request.key,\n",
                new="            id=__import__('uuid').uuid4(),\n",
            ),
        ),
        faults=frozenset({Kind.KILL, Kind.TERMINATE}),
        found_by=frozenset({"agents_are_those_of_their_calls"}),
    ),
    Sabotage(
        name="stop-of-a-family",
        edits=(
            Edit(
                file="chatd/store/queries/chats.sql",
                old="WHEN locked.status IN ('waiting', 'error') THEN 'unchanged'\n"
                "               WHEN locked.status = 'interrupting'\n",
                new="WHEN locked.status IN ('waiting', 'error') OR locked.id <> :chat_id\n"
                "                   THEN 'unchanged'\n"
                "               WHEN locked.status = 'interrupting'\n",
            ),
        ),
        faults=frozenset({Kind.MODEL_SLOW, Kind.TOOLS_SLOW}),
        found_by=frozenset({"families_stop_together"}),
    ),
    Sabotage(
        name="end-of-a-fork",
        edits=(
            Edit(
                file="chatd/store/queries/chats.sql",
                old="named_message.id - named_message.has_calls::integer)",
                new="named_message.id - 1)",
            ),
        ),
        found_by=frozenset({"forks_have_the_history_of_their_source"}),
    ),
    Sabotage(
        name="answer-that-is-replaced",
        edits=(
            Edit(
                file="chatd/store/queries/messages.sql",
                old="AND m.chat_id = decision.id AND m.id >= decision.reset_from\n",
                new="AND m.chat_id = decision.id AND m.id >= decision.reset_from\n"
                "      AND :content::jsonb IS NOT NULL\n",
            ),
        ),
        found_by=frozenset({"messages_are_answered_once", "journals_name_what_is_stored"}),
    ),
)
