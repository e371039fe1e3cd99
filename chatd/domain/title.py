"""Titles of chats that no caller gave: text of a message or of a model that becomes one.

A title stands in lists, terminals and tabs of browsers. So text of a message or of a model becomes one line
of plain text. First words cost 2 us, or 20 if there is markup or a line end in them.
"""

import re
import unicodedata
from typing import Final

from chatd.domain.message import Content

MAX_LENGTH: Final = 60
"""Characters of a title that no caller gave."""
_MAX_WORDS: Final = 8
"""Words of a model's title."""
_MAX_READ: Final = 400
"""Characters of a text that are looked at. Markup may take most of them."""
_MAX_PLAIN: Final = 2 * MAX_LENGTH
"""Characters of it that are looked at first: most texts have no markup there."""
MAX_MODEL_TEXT: Final = 500
"""Characters of a model's answer. A longer one is no title."""
_ELLIPSIS: Final = "…"

_SPECIAL: Final = re.compile(r"[<\[`*_#>~]")
_TERMINAL_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)"
)
_MARKUP: Final = tuple(
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in (
        (r"<!--.*?(?:-->|\Z)|</?[A-Za-z][^<>\n]{0,200}>", " "),
        (r"!?\[([^\[\]\n]{0,200})\](?:\([^()\n]{0,200}\)|\[[^\[\]\n]{0,200}\])", r"\1"),  # links
        (r"^[ \t]*(?:#{1,6}(?=\s)|>|[-*+](?=\s)|```[^\n`]{0,40}$|~~~[^\n~]{0,40}$)", " "),
        (r"`|~~", ""),
        (r"(?<!\w)[*_]{1,3}(?=\w)|(?<=[\w.,;:?!)])[*_]{1,3}(?!\w)", ""),  # emphasis
    )
)
_KEPT_FORMATS: Final = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
"""Formats that belong to words and emojis, and hide nothing."""
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_LABEL: Final = re.compile(r"title\s*:\s*", re.IGNORECASE)
_QUOTES: Final = "\"'“”„‟«»‹›‘’「」『』*_# "  # noqa: RUF001
_BAD_ENDS: Final = frozenset({"length", "tool_call", "content_filter", "refusal", "error"})
"""Reasons for which an answer is no title: it was cut off, or says why there is none."""


def first_words(content: Content) -> str:
    """Return the title of a chat whose first message is this: its first words, in one line.

    It has at most ``MAX_LENGTH`` characters. It is empty if the message has no text.
    """
    for part in content:
        if part["type"] == "text" and (title := _cut(_plain(part["text"]))):
            return title
    return ""


def model_title(text: str, *, reason: str) -> str:
    """Return the title that a model wrote, or nothing if its answer is not one.

    ``reason`` is why the answer ended.
    """
    if len(text) > MAX_MODEL_TEXT or reason in _BAD_ENDS:
        return ""
    title = _plain(text).strip(_QUOTES)
    title = title[matched.end() :] if (matched := _LABEL.match(title)) else title
    title = title.strip(_QUOTES).removesuffix(".")
    words = title.split(" ")
    return _cut(" ".join(words[:_MAX_WORDS]) + (_ELLIPSIS if len(words) > _MAX_WORDS else ""))


def _plain(text: str) -> str:
    """Return the beginning of a text without markup and hidden characters, in one line."""
    if (head := text[:_MAX_PLAIN]).isprintable() and not (
        _SPECIAL.search(head) or "  " in head or head.startswith(("- ", "+ "))
    ):
        return head.strip(" ")
    text = text[:_MAX_READ]
    if not text.replace("\n", "").isprintable():
        text = "".join(map(_visible, _TERMINAL_SEQUENCE.sub("", text)))
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _visible(character: str) -> str:
    if character.isprintable() or character in _KEPT_FORMATS or character == "\n":
        return character
    category = unicodedata.category(character)
    return "" if category in _INVISIBLE and category != "Cc" else " "


def _cut(text: str) -> str:
    """Return the text, cut at a word if it is too long."""
    if len(text) <= MAX_LENGTH:
        return text
    end = text.rfind(" ", 0, MAX_LENGTH)
    if end <= 0:
        end = MAX_LENGTH - 1
        while end > 1 and (unicodedata.combining(text[end]) or text[end] in _KEPT_FORMATS):
            end -= 1
    return text[:end].rstrip(" ,;:-") + _ELLIPSIS
