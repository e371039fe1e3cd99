"""Text of models as HTML: markdown by one library, and everything else taken out by another.

Raw HTML is shown as text. Images become links, since nothing is loaded from elsewhere.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

MAX_RENDERED: Final = 64 * 1024
"""Characters of a text that is rendered, in some 100 ms. A longer one is shown as it is."""
_CACHED_TEXTS: Final = 256

_TAGS: Final = {
    "a", "blockquote", "br", "code", "del", "em", "h4", "hr", "li", "ol", "p", "pre", "s", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES: Final = {"a": {"href", "title"}, "ol": {"start"}, "pre": {"tabindex"}}
_CLASSES: Final = {"h4": {f"level-{level}" for level in range(1, 7)}}


def render(text: str) -> Markup:
    """Return a text as HTML that is safe to show."""
    if len(text) > MAX_RENDERED:
        return plain(text)
    return _render(text)


def plain(text: str) -> Markup:
    """Return a text as it is."""
    return Markup('<div class="plain">{}</div>').format(text)


@lru_cache(maxsize=_CACHED_TEXTS)
def _render(text: str) -> Markup:
    html = nh3.clean(
        _markdown.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return Markup(html)  # noqa: S704 - cleaned in the statement above


def _render_code(
    _self: object, tokens: Sequence[Token], index: int, _options: object, _env: object
) -> str:
    # A wide block scrolls, which takes the focus.
    return f'<pre tabindex="0"><code>{escape(tokens[index].content)}</code></pre>\n'


def _shift_headings(state: Any) -> None:
    """Make every heading one of the level below a message's own."""
    for token in state.tokens:
        if token.type == "heading_open":
            token.attrSet("class", f"level-{token.tag[1:]}")
        if token.type in {"heading_open", "heading_close"}:
            token.tag = "h4"


def _build() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.disable("image")
    markdown.core.ruler.push("shift_headings", _shift_headings)
    for kind in ("fence", "code_block"):
        markdown.add_render_rule(kind, _render_code)
    return markdown


_markdown: Final = _build()
