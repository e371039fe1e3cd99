"""Pages of lists, requested as they are needed."""

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from chatd.client.http import Http


async def paginate(
    http: Http,
    path: str,
    params: Mapping[str, Any],
    *,
    cursor_param: str = "cursor",
    max_items: int | None = None,
    items_of: Callable[[Mapping[str, Any]], Sequence[Any]] = itemgetter("items"),
) -> AsyncIterator[Any]:
    """Yield the items of all pages, at most ``max_items``. Each page is requested when it is needed."""
    page_params: dict[str, Any] = {}
    remaining = math.inf if max_items is None else max_items
    while remaining > 0:
        page = await http.request("GET", path, params={**params, **page_params})
        for item in items_of(page)[: None if max_items is None else int(remaining)]:
            remaining -= 1
            yield item
        if page.get("next_cursor") is None:
            return
        page_params = {cursor_param: page["next_cursor"]}
