"""Route of the list of chats of a caller."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import parse_qs
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AfterValidator, StringConstraints
from starlette.types import Scope

from chatd.api.context import Context
from chatd.api.errors.problems import FieldProblem, invalid_request, problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.pagination import Archived, Limit, chat_page, decode_cursor
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.chat_list import ChatListPage, MessageMatch
from chatd.api.schema.types import MAX_CURSOR_LENGTH, MAX_TITLE_LENGTH, Sanitized
from chatd.domain import chat as domain
from chatd.domain.chat import Status
from chatd.store.chat_lists import ChatFilter

router = APIRouter(prefix="/api/v1", tags=["chats"])


def _check_label_filter(value: str) -> str:
    if value.startswith(":"):
        raise ValueError("must be name:value, or a name")
    return value


LabelFilter = Annotated[
    str, StringConstraints(min_length=1, max_length=1201), AfterValidator(_check_label_filter)
]

_PATH = "/api/v1/chats"
_REPEATABLE = "Repeatable: "
MAX_WORDS = 32
"""Words of one search in messages."""
_MAX_LABEL_FILTERS = 64
"""Maximum number of label filters in one query."""


def is_search(scope: Scope) -> bool:
    """Return whether a request is for a page of a list that may have to skip many chats."""
    if not scope["query_string"] or scope["method"] != "GET" or scope["path"] != _PATH:
        return False
    filters = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=False)
    return ChatFilter(
        statuses=[Status.read(word) for word in filters.get("status", ())],
        label_names=filters.get("label", ()),
        parent="none" if "none" in filters.get("parent", ()) else None,
        title_contains="".join(filters.get("q", ())),
    ).is_search


@router.get(
    "/chats",
    dependencies=[RejectUnknownParameters],
    responses=problem_responses("invalid_cursor", "too_many_searches", "search_unavailable"),
)
async def list_chats(
    caller: Caller,
    context: Context,
    archived: Archived = False,
    status: Annotated[
        list[Status] | None, Query(description=f"{_REPEATABLE}any of them.", max_length=len(Status))
    ] = None,
    label: Annotated[
        list[Annotated[LabelFilter, Sanitized]] | None,
        Query(
            description=f"{_REPEATABLE}`name:value`, or a name alone; all must hold. The name ends at "
            "the first colon.",
            max_length=_MAX_LABEL_FILTERS,
        ),
    ] = None,
    parent: Annotated[
        UUID | Literal["none"] | None,
        Query(description="Id of the parent chat, or `none` for chats without a parent."),
    ] = None,
    q: Annotated[
        Annotated[str, StringConstraints(max_length=MAX_TITLE_LENGTH), Sanitized] | None,
        Query(
            description="Substring of the title. Case does not matter. With `in=messages`: words of a "
            f'message, at most {MAX_WORDS}, in the language of search engines (`"a phrase"`, `or`, '
            "`-word`)."
        ),
    ] = None,
    searched: Annotated[
        Literal["titles", "messages"],
        Query(
            alias="in",
            description="Where `q` is searched. Messages are found some seconds after they were stored, "
            "those of users and of models, not results of tools.",
        ),
    ] = "titles",
    limit: Limit = 50,
    cursor: Annotated[
        str | None,
        Query(description="`next_cursor` of the previous page.", max_length=MAX_CURSOR_LENGTH),
    ] = None,
) -> ChatListPage:
    """Return the owner's chats, most recently updated first.

    Every page costs the same, however deep. A chat that is updated while you page moves to the front,
    which you have already read: `GET /chats/stream` reports it. With a filter other than
    `archived` and the id of a parent it is a search, which may have to skip many chats. A search has
    less time than other requests, and only a few run at once.
    """
    label_filters = [value.partition(":") for value in label or ()]
    chat_filter = ChatFilter(
        archived=None if archived == "any" else archived,
        statuses=status or (),
        labels=[(name, value) for name, colon, value in label_filters if colon],
        label_names=[name for name, colon, _ in label_filters if not colon],
        parent=parent,
        title_contains=q if searched == "titles" else None,
    )
    if searched == "messages":
        return await _search_messages(
            q, caller=caller, context=context, chat_filter=chat_filter, limit=limit, cursor=cursor
        )
    chats = await context.store.chat_lists.page(
        owner_id=caller.owner_id,
        chat_filter=chat_filter,
        before=None if cursor is None else decode_cursor(cursor),
        limit=limit + 1,
    )
    await context.ensure_model_names(*(chat.last_model_config_id for chat in chats))
    return _page(chats, context, limit=limit)


async def _search_messages(
    q: str | None,
    *,
    caller: Caller,
    context: Context,
    chat_filter: ChatFilter,
    limit: int,
    cursor: str | None,
) -> ChatListPage:
    if not context.indexes_messages:
        problem = "this server does not index messages (database.index_messages)"
        raise invalid_request(FieldProblem(where="query.in", message=problem))
    words = (q or "").split()
    if not 0 < len(words) <= MAX_WORDS:
        problem = f"must have 1 to {MAX_WORDS} words to search messages for, and has {len(words)}"
        raise invalid_request(FieldProblem(where="query.q", message=problem))
    found = await context.store.message_search.page(
        " ".join(words),
        owner_id=caller.owner_id,
        chat_filter=chat_filter,
        before=None if cursor is None else decode_cursor(cursor),
        limit=limit + 1,
    )
    await context.ensure_model_names(*(match.chat.last_model_config_id for match in found))
    matches = {str(each.chat.id): MessageMatch.from_domain(each) for each in found[:limit]}
    return _page([each.chat for each in found], context, limit=limit, matches=matches)


def _page(
    chats: Sequence[domain.Chat],
    context: Context,
    *,
    limit: int,
    matches: Mapping[str, MessageMatch] | None = None,
) -> ChatListPage:
    """Return the first of some chats, up to ``limit``. If there are more, it has a cursor."""
    page = chat_page(chats[:limit], context.present.chat, has_more=len(chats) > limit)
    return ChatListPage(items=page.items, next_cursor=page.next_cursor, matches=dict(matches or {}))
