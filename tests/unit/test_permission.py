"""Permission to run a tool: a chat never loosens, and a rule that denies always wins."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.permission import (
    ChatPermissions,
    ConfiguredPermissions,
    Permission,
    PermissionMode,
    ToolRule,
    decide,
)

ALLOW, ASK, DENY = Permission.ALLOW, Permission.ASK, Permission.DENY
STRICTNESS = [ALLOW, ASK, DENY]
NAME = "github__delete_repo"


def rules(**permissions: Permission) -> tuple[ToolRule, ...]:
    return tuple(ToolRule(name.replace("all", "*"), each) for name, each in permissions.items())


CASES: dict[str, tuple[dict[str, Any], Permission]] = {
    "nothing is said": ({}, ALLOW),
    "the default": ({"configured": ConfiguredPermissions(default=ASK)}, ASK),
    "its section before the default": (
        {"own": ALLOW, "configured": ConfiguredPermissions(default=DENY)},
        ALLOW,
    ),
    "a rule before its section": (
        {"own": ASK, "configured": ConfiguredPermissions(rules=rules(github__all=ALLOW))},
        ALLOW,
    ),
    "the first rule that fits": (
        {
            "configured": ConfiguredPermissions(
                rules=(*rules(other=DENY), *rules(github__all=ASK), *rules(all=ALLOW))
            )
        },
        ASK,
    ),
    "a rule that denies, after others": (
        {
            "configured": ConfiguredPermissions(
                rules=(*rules(all=ALLOW), *rules(all__delete_all=DENY))
            )
        },
        DENY,
    ),
    "names have cases": (
        {"configured": ConfiguredPermissions(rules=rules(GITHUB__all=DENY))},
        ALLOW,
    ),
    "the chat is stricter": ({"chat": ChatPermissions(rules=rules(github__all=ASK))}, ASK),
    "the chat is looser": (
        {
            "chat": ChatPermissions(rules=rules(all=ALLOW)),
            "configured": ConfiguredPermissions(default=ASK),
        },
        ASK,
    ),
    "asked in the mode ask": ({"chat": ChatPermissions(mode=PermissionMode.ASK)}, ASK),
    "denied in the mode read_only": (
        {"chat": ChatPermissions(mode=PermissionMode.READ_ONLY)},
        DENY,
    ),
    "a tool that only reads runs in it": (
        {"read_only": True, "chat": ChatPermissions(mode=PermissionMode.READ_ONLY)},
        ALLOW,
    ),
    "a mode of a newer version": (
        {"chat": ChatPermissions(mode=PermissionMode.read("unheard of"))},
        DENY,
    ),
    "remembered": (
        {
            "chat": ChatPermissions(remembered={NAME: ALLOW}),
            "configured": ConfiguredPermissions(default=ASK),
        },
        ALLOW,
    ),
    "remembered of another tool": (
        {
            "chat": ChatPermissions(remembered={"github__get": ALLOW}),
            "configured": ConfiguredPermissions(default=ASK),
        },
        ASK,
    ),
    "remembered, and denied by a rule since": (
        {
            "chat": ChatPermissions(remembered={NAME: ALLOW}),
            "configured": ConfiguredPermissions(rules=rules(all__delete_all=DENY)),
        },
        DENY,
    ),
    "remembered as denied": ({"chat": ChatPermissions(remembered={NAME: DENY})}, DENY),
}


@pytest.mark.parametrize("case", CASES)
def test_decision(case: str) -> None:
    facts, expected = CASES[case]
    defaults: dict[str, Any] = {
        "own": None,
        "read_only": False,
        "configured": ConfiguredPermissions(),
    }
    assert decide(NAME, **(defaults | facts)) is expected


permissions = st.sampled_from(Permission)
names = st.sampled_from(["pay", "look", "github__get", "github__delete"])
patterns = st.sampled_from(["*", "pay", "p*", "github__*", "*delete*", "loo?", "none"])
rule_lists = st.lists(st.builds(ToolRule, patterns, permissions), max_size=4).map(tuple)
configurations = st.builds(ConfiguredPermissions, permissions, rule_lists)
chats = st.builds(
    ChatPermissions,
    st.sampled_from(PermissionMode),
    rule_lists,
    st.dictionaries(names, st.sampled_from([ALLOW, DENY]), max_size=2),
)
owns = st.none() | permissions


@given(names, owns, st.booleans(), configurations, chats)
def test_chat_never_loosens(
    name: str,
    own: Permission | None,
    read_only: bool,
    configured: ConfiguredPermissions,
    chat: ChatPermissions,
) -> None:
    without = decide(name, own=own, read_only=read_only, configured=configured)
    within = decide(name, own=own, read_only=read_only, configured=configured, chat=chat)
    if chat.remembered.get(name) is ALLOW:
        assert within is DENY or without is not DENY, "it lifts the question, and nothing else"
    else:
        assert STRICTNESS.index(within) >= STRICTNESS.index(without)


@given(names, owns, st.booleans(), configurations, chats, st.data())
def test_rule_that_denies_always_wins(
    name: str,
    own: Permission | None,
    read_only: bool,
    configured: ConfiguredPermissions,
    chat: ChatPermissions,
    data: st.DataObject,
) -> None:
    place = data.draw(st.integers(0, len(configured.rules)))
    denying = (
        *configured.rules[:place],
        ToolRule(name, DENY),
        *configured.rules[place:],
    )
    strict = ConfiguredPermissions(configured.default, denying)
    assert decide(name, own=own, read_only=read_only, configured=strict, chat=chat) is DENY
    strict_chat = ChatPermissions(chat.mode, denying, chat.remembered)
    assert (
        decide(name, own=own, read_only=read_only, configured=configured, chat=strict_chat) is DENY
    )


@given(chats)
def test_stored_permissions_are_read_as_they_were(chat: ChatPermissions) -> None:
    stored = {
        "mode": chat.mode.value,
        "rules": [{"tools": r.tools, "permission": r.permission.value} for r in chat.rules],
        "remembered": {name: each.value for name, each in chat.remembered.items()},
    }
    assert ChatPermissions.read(stored) == chat
