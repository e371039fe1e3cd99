"""The scopes that each operation takes: the one place that says what a credential may do.

An operation is named by its operation id. It admits a caller who has one of its scopes. ``read-all`` and
``operate`` let the caller name any chat; ``chats`` only those of the owner that the request acts as.
Tests and the OpenAPI document are generated from this table, and an operation that is missing in it fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chatd.api.auth.identity import Identity, insufficient_scope
from chatd.domain.access_scope import AccessScope
from chatd.domain.request_actor import RequestActor

_OWN: Final = (AccessScope.CHATS,)
_READ: Final = (AccessScope.CHATS, AccessScope.READ_ALL)
_EXPLAIN: Final = (AccessScope.CHATS, AccessScope.READ_ALL, AccessScope.OPERATE)

OPERATION_SCOPES: Final[Mapping[str, tuple[AccessScope, ...]]] = {
    "list_chats": _OWN,
    "create_chat": _OWN,
    "fork_chat": _OWN,
    "stream_chats": _OWN,
    "get_chat": _READ,
    "update_chat": _OWN,
    "delete_chat": _OWN,
    "interrupt_chat": _OWN,
    "retry_chat": _OWN,
    "clear_chat": _OWN,
    "compact_chat": _OWN,
    "stream_chat": _READ,
    "list_events": _READ,
    "explain_chat": _EXPLAIN,
    "list_messages": _READ,
    "get_file": _READ,
    "send_message": _OWN,
    "append_messages": _OWN,
    "edit_message": _OWN,
    "regenerate_message": _OWN,
    "list_queue": _READ,
    "list_tool_calls": _READ,
    "delete_queued_message": _OWN,
    "promote_queued_message": _OWN,
    "submit_tool_results": _OWN,
    "answer_actions": _OWN,
    "list_models": _OWN,
    "get_fleet": (AccessScope.OPERATE,),
    "get_metrics_history": (AccessScope.OPERATE,),
    "list_fleet_chats": (AccessScope.OPERATE,),
    "interrupt_any_chat": (AccessScope.OPERATE,),
    "retry_any_chat": (AccessScope.OPERATE,),
    "archive_any_chat": (AccessScope.OPERATE,),
    "drain_worker": (AccessScope.OPERATE,),
    "resume_worker": (AccessScope.OPERATE,),
    "metrics": (AccessScope.METRICS,),
    "statusz": (AccessScope.OPERATE,),
}

_ANY_CHAT: Final = frozenset({AccessScope.READ_ALL, AccessScope.OPERATE})
"""Scopes of operators: an operation that takes one of them is not limited to an owner's chats."""


@dataclass(frozen=True, slots=True)
class Access:
    """Permission for one request: whose chats it may name, and for whom it answers.

    ``owner_filter`` is the owner whose chats the operation may read by id; None stands for any owner.
    """

    owner_id: str
    actor: RequestActor
    owner_filter: str | None
    is_operator: bool
    """True for a caller who may see how chats are run: workers, other owners' load, who did what."""


def authorize(identity: Identity, operation: str) -> Access:
    """Return what ``identity`` may do with an operation. Raises ``HttpProblem`` (403)."""
    scopes = OPERATION_SCOPES[operation]
    admitted = identity.scopes.intersection(scopes)
    if not admitted:
        detail = f"This takes a token with the scope {' or '.join(scopes)}."
        raise insufficient_scope(detail, *scopes)
    return Access(
        owner_id=identity.owner_id,
        actor=identity.actor,
        owner_filter=None if admitted & _ANY_CHAT else identity.owner_id,
        is_operator=bool(identity.scopes & _ANY_CHAT),
    )
