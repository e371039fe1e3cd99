"""Pages of items, as clients of this dialect read them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query

from chatd.adapters.responses.output import Item
from chatd.adapters.responses.problems import no_item

Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]
ItemPage = dict[str, Any]


def page_of(items: Sequence[Item], *, after: str | None, limit: int) -> ItemPage:
    """Return the page that follows the item ``after``. Raises ``Refusal`` if that is not among them."""
    start = 0
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise no_item(after)
        start = ids.index(after) + 1
    return item_page(items[start : start + limit], has_more=len(items) > start + limit)


def item_page(items: Sequence[Item], *, has_more: bool) -> ItemPage:
    """Return a page of items."""
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }
