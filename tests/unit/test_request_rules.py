"""The rules of the providers: each rejects what its source says, and accepts the documented examples."""

from collections.abc import Mapping

import pytest
from support.request_cases import chat_completions, messages, responses
from support.request_cases.case import Refused
from support.request_rules import Body, Rule, violations
from support.request_rules.chat_completions import CHAT_COMPLETIONS, MISTRAL, STRICT_TEMPLATE
from support.request_rules.messages import MESSAGES
from support.request_rules.responses import RESPONSES

RULE_BOOKS: Mapping[str, tuple[list[Rule], Refused]] = {
    "chat-completions": (CHAT_COMPLETIONS, chat_completions.REFUSED),
    "strict-template": (STRICT_TEMPLATE, chat_completions.STRICT_REFUSED),
    "mistral": (MISTRAL, chat_completions.MISTRAL_REFUSED),
    "messages": (MESSAGES, messages.REFUSED),
    "responses": (RESPONSES, responses.REFUSED),
}


def bodies(refused: Refused, rule: Rule) -> tuple[Body, ...]:
    found = refused.get(rule.name, ())
    return found if isinstance(found, tuple) else (found,)


CASES = [
    pytest.param(rule, body, rules, id=f"{book}-{rule.name}-{number}")
    for book, (rules, refused) in RULE_BOOKS.items()
    for rule in rules
    for number, body in enumerate(bodies(refused, rule))
]


@pytest.mark.parametrize(("rule", "refused", "others"), CASES)
def test_rule_rejects_what_its_source_says_is_rejected(
    rule: Rule, refused: Body, others: list[Rule]
) -> None:
    assert rule.source
    assert any(breach.startswith(f"{rule.name}: ") for breach in violations(refused, others))


@pytest.mark.parametrize("book", RULE_BOOKS)
def test_case_belongs_to_a_rule(book: str) -> None:
    rules, refused = RULE_BOOKS[book]
    assert {rule.name for rule in rules} == set(refused)
    assert all(refused.values()), "a rule has no case"


@pytest.mark.parametrize(
    ("rules", "body"),
    [
        *(
            ([*CHAT_COMPLETIONS, *STRICT_TEMPLATE, *MISTRAL], body)
            for body in chat_completions.EXAMPLES
        ),
        *((MESSAGES, body) for body in messages.EXAMPLES),
        *((RESPONSES, body) for body in responses.EXAMPLES),
    ],
)
def test_examples_of_the_documentation_are_accepted(rules: list[Rule], body: Body) -> None:
    assert violations(body, rules) == []
