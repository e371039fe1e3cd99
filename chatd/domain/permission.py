"""Permission to run tools: what the configuration says, and what a chat makes stricter.

One pure function decides. A chat never loosens: a rule of the configuration that denies a tool wins over
all else, and what a chat says only counts where it is stricter. An answer that a person has
remembered lifts the question, and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from chatd.domain.stored_word import StoredWord


class Permission(StrEnum):
    """Permission to run a tool.

    * `allow`: it runs.
    * `ask`: a person is asked before it runs.
    * `deny`: it does not run, and the model reads so.
    """

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class PermissionMode(StoredWord):
    """Strictness of a chat about tools that do not only read.

    * `default`: as the configuration says.
    * `ask`: each call is asked.
    * `read_only`: they are denied.
    """

    DEFAULT = "default"
    ASK = "ask"
    READ_ONLY = "read_only"


_STRICTNESS: Final = {Permission.ALLOW: 0, Permission.ASK: 1, Permission.DENY: 2}


@dataclass(frozen=True, slots=True)
class ToolRule:
    """A permission for the tools whose names fit ``tools``, a pattern as of file names."""

    tools: str
    permission: Permission


@dataclass(frozen=True, slots=True)
class ConfiguredPermissions:
    """The permissions of the configuration: rules, and what holds for a tool that none is about."""

    default: Permission = Permission.ALLOW
    rules: tuple[ToolRule, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatPermissions:
    """Permissions that a chat makes stricter, and answers that its people have remembered."""

    mode: PermissionMode = PermissionMode.DEFAULT
    rules: tuple[ToolRule, ...] = ()
    remembered: Mapping[str, Permission] = field(default_factory=dict)

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> "ChatPermissions":
        """Return a value of ``chats.permissions``. A word of a newer version counts as the strictest."""
        if not stored:
            return NO_CHAT_PERMISSIONS
        return cls(
            mode=PermissionMode.read(stored.get("mode", PermissionMode.DEFAULT)),
            rules=tuple(
                ToolRule(rule["tools"], _permission(rule["permission"]))
                for rule in stored.get("rules", ())
            ),
            remembered={
                name: _permission(word) for name, word in stored.get("remembered", {}).items()
            },
        )


NO_CHAT_PERMISSIONS: Final = ChatPermissions()


def decide(
    name: str,
    *,
    own: Permission | None,
    read_only: bool,
    configured: ConfiguredPermissions,
    chat: ChatPermissions = NO_CHAT_PERMISSIONS,
) -> Permission:
    """Return the permission of the tool ``name`` in a chat.

    ``own`` is what the section of the tool, or of its server, says. Of several rules the first that fits
    counts, but one that denies wins wherever it stands.
    """
    decided = strictest(
        (
            _first(name, configured.rules) or own or configured.default,
            _first(name, chat.rules) or Permission.ALLOW,
            _of_mode(chat.mode, read_only=read_only),
        )
    )
    match chat.remembered.get(name):
        case Permission.DENY:
            return Permission.DENY
        case Permission.ALLOW if decided is Permission.ASK:
            return Permission.ALLOW
    return decided


def strictest(permissions: Iterable[Permission]) -> Permission:
    """Return the strictest of some permissions, at least one."""
    return max(permissions, key=_STRICTNESS.__getitem__)


def _first(name: str, rules: Iterable[ToolRule]) -> Permission | None:
    fitting = [rule.permission for rule in rules if fnmatchcase(name, rule.tools)]
    if Permission.DENY in fitting:
        return Permission.DENY
    return fitting[0] if fitting else None


def _of_mode(mode: PermissionMode, *, read_only: bool) -> Permission:
    if read_only or mode is PermissionMode.DEFAULT:
        return Permission.ALLOW
    return Permission.ASK if mode is PermissionMode.ASK else Permission.DENY


def _permission(word: str) -> Permission:
    try:
        return Permission(word)
    except ValueError:
        return Permission.DENY
