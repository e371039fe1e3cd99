"""Text by which people attack web pages, and what no page makes of it."""

from playwright.async_api import Page

PAYLOADS = (
    "<script>alert('script')</script>",
    "<img src=x onerror=alert('img')>",
    "<img src=http://elsewhere.test/image.png>",
    "<svg onload=alert('svg')></svg>",
    "\"><script>alert('quote')</script>",
    "' onmouseover='alert(1)' x='",
    "</title></textarea></pre></style><script>alert('close')</script>",
    "<iframe srcdoc=\"<script>alert('frame')</script>\"></iframe>",
    "<style>@import 'http://elsewhere.test/a.css'; p { background: url(http://elsewhere.test/b) }</style>",
    "<link rel=stylesheet href=http://elsewhere.test/c.css>",
    "<meta http-equiv=refresh content='0;url=http://elsewhere.test/'>",
    "<base href='http://elsewhere.test/'>",
    "<form action=http://elsewhere.test/><button autofocus>x</button></form>",
    "<object data=http://elsewhere.test/d></object><embed src=http://elsewhere.test/e>",
    "<video src=http://elsewhere.test/f></video><audio src=http://elsewhere.test/g></audio>",
    "<details open ontoggle=alert('toggle')>x</details>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert('math')>",
    "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,<script>alert(1)</script>)",
    "[d](vbscript:x) [e](http://elsewhere.test/h 'onmouseover=alert(1)')",
    "![f](http://elsewhere.test/i.png) ![g](javascript:alert(1))",
    "<http://elsewhere.test/j> <javascript:alert(1)> http://elsewhere.test/k",
    "```html\n<script>alert('code')</script>\n```",
    "`<img src=x onerror=alert('span')>`",
    "| <script>alert('cell')</script> | b |\n| --- | --- |\n| c | d |",
    "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    "&lt;script&gt;alert('entity')&lt;/script&gt;",
    "\u202egnp.exe <!-- ]]> --!> \u2028 \ufeff",
)
"""Attacks, each of which some page of the web has fallen for."""

HOSTILE = "\n\n".join(PAYLOADS)
SHORT = "\"><img src=x onerror=alert('short')><script>alert('short')</script>"
"""An attack for fields that are short."""

_FOUND = """() => {
  const found = [];
  const own = (url) => !url || url.startsWith("data:image/")
    || new URL(url, location.href).origin === location.origin;
  const bad = ["iframe", "object", "embed", "base", "style", "math", "audio", "video"];
  for (const element of document.querySelectorAll("*")) {
    const name = element.localName;
    for (const {name: attribute} of element.attributes) {
      if (attribute.startsWith("on") || ["style", "srcdoc"].includes(attribute))
        found.push(`<${name} ${attribute}>`);
    }
    const source = element.getAttribute("src") || "";
    if (bad.includes(name)) found.push(`<${name}>`);
    if (name === "script" && !source.startsWith("/console/static/")) found.push("<script>");
    if (name === "link" && !own(element.href)) found.push(`link ${element.href}`);
    if (name === "img" && !own(element.src)) found.push(`img ${element.src}`);
    if (name === "form" && !own(element.getAttribute("action"))) found.push("form");
    if (name === "meta" && element.httpEquiv === "refresh" && element.content !== "3")
      found.push("refresh");
    if (name === "a") {
      if (!["http:", "https:", "mailto:"].includes(element.protocol)) found.push(element.href);
      if (!own(element.href) && !element.relList.contains("noopener"))
        found.push(`without noopener: ${element.href}`);
    }
  }
  return found;
}"""


async def assert_inert(page: Page) -> None:
    """Fail if anything on the page may run, load from elsewhere, or reach this page from a new one."""
    found = await page.evaluate(_FOUND)
    assert not found, (page.url, found)
