"""Rules of the providers about the body of a request, written from their documentation and public reports.

A rule is a generator over the body that yields every breach, and names its source. Nothing here reads
chatd's own facts about providers. ``violations`` checks one body by all the rules of a dialect.
"""

from support.request_rules.chat_completions import CHAT_COMPLETIONS, MISTRAL, STRICT_TEMPLATE
from support.request_rules.messages import MESSAGES
from support.request_rules.responses import RESPONSES
from support.request_rules.rule import Body, Rule, violations

DIALECTS = {
    "openai": RESPONSES,
    "anthropic": MESSAGES,
    "openai-compatible": [*CHAT_COMPLETIONS, *STRICT_TEMPLATE],
    "mistral": [*CHAT_COMPLETIONS, *STRICT_TEMPLATE, *MISTRAL],
}
"""Rules by the kind of provider that holds chatd to them."""

__all__ = ["DIALECTS", "Body", "Rule", "violations"]
