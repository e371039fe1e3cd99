"""Text of models becomes HTML that can do nothing."""

import re

import pytest

from chatd.console.markdown import MAX_RENDERED, render
from chatd.console.pages.talk.shown import show_messages

ALLOWED = re.compile(
    r"</?(?:a|blockquote|br|code|del|div|em|h4|hr|li|ol|p|pre|s|strong|table|tbody|td|th|thead|tr|ul)\b"
)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))",
        "[a](data:text/html,<script>alert(1)</script>)", "![a](http://elsewhere.test/x.png)",
        "<style>*{display:none}</style>", "<a href='javascript:alert(1)'>a</a>", "[a](vbscript:x)",
        "```<script>\n</script>\n```", "`<b>`", "<!-- -->", "&lt;script&gt;", "[a](<javascript:alert(1)>)",
        "[a]: javascript:alert(1)\n\n[a]", "<javascript:alert(1)>", "# <svg onload=alert(1)>", "\0<b>",
        "|<b>|\n|-|\n|<script>|", "[a](http://x.test \"t' onclick='alert(1)\")", "<iframe srcdoc=x>",
    ],
)  # fmt: skip
def test_nothing_in_a_text_becomes_markup_that_acts(text: str) -> None:
    html = str(render(text))
    tags = re.findall(r"<[^>]*>?", html)
    assert all(ALLOWED.match(tag) for tag in tags), html
    for tag in tags:
        assert not re.search(r"\son\w+=|style=|src=", re.sub(r'"[^"]*"', '""', tag)), html
        for target in re.findall(r'href="([^"]*)"', tag):
            assert target.startswith(("http://", "https://", "mailto:")), html
            assert 'rel="noopener noreferrer"' in tag


def test_markdown_is_rendered_below_a_messages_own_heading() -> None:
    html = str(render("# One\n\n### Three\n\n~~no~~ **yes**\n\n|a|\n|-|\n|b|\n\n```py\n1 < 2\n```"))
    assert '<h4 class="level-1">One</h4>' in html
    assert '<h4 class="level-3">Three</h4>' in html
    assert "<s>no</s> <strong>yes</strong>" in html
    assert "<td>b</td>" in html
    assert '<pre tabindex="0"><code>1 &lt; 2\n</code></pre>' in html


def test_long_text_is_shown_as_it_is() -> None:
    assert "<em>" in render("*a* " * 100)
    assert "<em>" not in render("*a* " * MAX_RENDERED)


def test_page_renders_its_newest_texts_up_to_a_bound() -> None:
    texts = ["*a* " * (MAX_RENDERED // 4)] * 6
    messages = [
        {"id": number, "role": "assistant", "content": [{"type": "text", "text": text}]}
        for number, text in enumerate(texts)
    ]
    shown = show_messages(messages)
    assert [message.id for message in shown] == [*range(6)]
    assert ["<em>" in message.parts[0].html for message in shown] == [False] * 2 + [True] * 4


def test_text_of_people_is_shown_as_they_typed_it() -> None:
    [message] = show_messages(
        [{"id": 1, "role": "user", "content": [{"type": "text", "text": "*a* <b>"}]}]
    )
    assert message.parts[0].html == '<div class="plain">*a* &lt;b&gt;</div>'


def test_part_may_lack_what_the_api_leaves_out() -> None:
    part = {"type": "tool-result", "tool_call_id": "c1"}
    [message] = show_messages([{"id": 1, "role": "tool", "content": [part]}])
    assert (message.parts[0].part["files"], message.parts[0].part["is_error"]) == ((), False)
