"""Titles of first words and of models: one line of plain text, bounded, whatever the text is."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.title import MAX_LENGTH, first_words, model_title

LONG = "Explain the difference between the theory of relativity and quantum mechanics"


def title_of(*texts: str) -> str:
    return first_words(tuple({"type": "text", "text": text} for text in texts))


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Why is the sky blue?", "Why is the sky blue?"),
        (f"{LONG}, please", "Explain the difference between the theory of relativity and…"),
        ("x" * 61, "x" * 59 + "…"),
        ("x" * 60, "x" * 60),
        ("日本語" * 30, ("日本語" * 30)[:59] + "…"),
        ("e\N{COMBINING ACUTE ACCENT}" * 60, "e\N{COMBINING ACUTE ACCENT}" * 29 + "…"),
        ("  two \t\r\n lines\n", "two lines"),
        (
            "# A *heading* with **marks**, `code` and ~~this~~",
            "A heading with marks, code and this",
        ),
        ("- item\n- [link](https://example.com/a?b=c) ![image](x.png)", "item link image"),
        ("> a quote\n\n```python\nprint('x')\n```", "a quote print('x')"),
        ("<b onclick=alert(1)>bold</b> <!-- hidden --> text", "bold text"),
        ("a < b and c > d, 3 * 4, snake_case", "a < b and c > d, 3 * 4, snake_case"),
        ("\x1b[31mred\x1b[0m \x07bell \x1b]0;window\x07", "red bell"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe\N{ZERO WIDTH SPACE}", "gnp.exe"),
        ("می\N{ZERO WIDTH NON-JOINER}شود", "می\N{ZERO WIDTH NON-JOINER}شود"),
        ("nul \0 and \ud800 half", "nul and half"),
        ("", ""),
        (" \n\t ", ""),
        ("```\n```", ""),
    ],
)
def test_first_words(text: str, title: str) -> None:
    assert title_of(text) == title


def test_first_words_are_those_of_the_first_part_that_has_any() -> None:
    image = {"type": "file", "file_id": "f", "media_type": "image/png"}
    assert first_words((image,)) == ""
    assert (
        first_words((image, {"type": "text", "text": "\n"}, {"type": "text", "text": "b"})) == "b"
    )


@pytest.mark.parametrize(
    ("text", "reason", "title"),
    [
        ("Colour of the sky", "stop", "Colour of the sky"),
        ('Title: "Colour of the sky."', "stop", "Colour of the sky"),
        ("**“Colour of the sky”**\n", "stop", "Colour of the sky"),
        ("# Colour\nof the\n\nsky", "stop", "Colour of the sky"),
        (
            "one two three four five six seven eight nine",
            "stop",
            "one two three four five six seven eight…",
        ),
        ("x" * 70, "stop", "x" * 59 + "…"),
        ("<script>alert(1)</script>", "stop", "alert(1)"),
        ("\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}evil", "stop", "evil"),
        ("x" * 10_000, "stop", ""),
        ("", "stop", ""),
        ("``` ```", "stop", ""),
        ('""', "stop", ""),
        ("Colour of the", "length", ""),
        ("I cannot help with that", "refusal", ""),
        ("Colour", "content_filter", ""),
        ("Colour", "tool_call", ""),
    ],
)
def test_model_title(text: str, reason: str, title: str) -> None:
    assert model_title(text, reason=reason) == title


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("*_`#<>[]() \n\x1b"))))
def test_any_text_becomes_one_bounded_line(text: str) -> None:
    for title in (title_of(text), model_title(text, reason="stop")):
        assert len(title) <= MAX_LENGTH
        assert title == title.strip()
        assert not {unicodedata.category(c) for c in title} & {"Cc", "Cs", "Zl", "Zp"}
        assert not set(title) & set("`\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}")
