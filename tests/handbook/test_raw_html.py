"""What an author's page may hold, and what stops the build: each way that was tried to get past."""

from __future__ import annotations

import markdown
import pytest
from markdown import Extension

from handbook import page
from handbook.page import PageError
from handbook.raw_html import RawHtmlExtension

BEFORE = "# Page\n\nA sentence.\n\n"
LINE = BEFORE.count("\n") + 1

#: Refused, with the line that the fault stands on.
REFUSED = {
    "a script": "<script>alert(1)</script>",
    "a script in a line": "Some <script>alert(1)</script> text",
    "a script behind a backslash": r"Some \<script>alert(1)</script>",
    "a script in capitals": "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "a script over lines": "<script\nsrc='x.js'\n></script>",
    "a script that is not closed": "<script>alert(1)",
    "a script with a slash": "text <script/src=x></script>",
    "a script in a list": "- <script>alert(1)</script>",
    "a script in a quotation": "> <script>alert(1)</script>",
    "a script in a table": "<script>1</script> | b\n--|--\n<script>1</script> | c",
    "a script in an admonition": "!!! note\n    <script>alert(1)</script>",
    "a script in a tab": '=== "Tab"\n    <script>alert(1)</script>',
    "a script in a footnote": "[^1]: <script>alert(1)</script>\n\nText[^1]",
    "a script in HTML with Markdown": "<div markdown><script>alert(1)</script></div>",
    "a script in a comment that ends early": "<!--> <script>alert(1)</script> -->",
    "a script in another comment": "<!-- --!> <script>alert(1)</script> -->",
    "a script in a drawing": "<svg><script>alert(1)</script></svg>",
    "a script in a heading": "## A <script>alert(1)</script>",
    "a handler": "<div onclick=alert(1)>x</div>",
    "a handler in a line": 'x <span onmouseover="alert(1)">y</span>',
    "a handler in capitals": "<span ONCLICK=alert(1)>y</span>",
    "a handler with a slash": "<br/onload=alert(1)>",
    "a handler in HTML with Markdown": "<div markdown onclick=alert(1)>\n\nx\n\n</div>",
    "a picture with a handler": "<img src=x onerror=alert(1)>",
    "an attribute list on a paragraph": 'text\n{ onmouseover="alert(1)" }',
    "an attribute list in a line": "*x*{ onclick=alert(1) }",
    "an attribute list on a heading": "## H { onclick=alert(1) }",
    "an attribute list in a cell": "a | b\n--|--\nc { onclick=alert(1) } | d",
    "an attribute list on a picture": "![x](x.png){ onerror=alert(1) }",
    "an attribute list with a style": 'text\n{ style="position:fixed;inset:0" }',
    "an attribute list that opens windows": "[x](y.md){ target=_blank }",
    "an address for the form": "*x*{ formaction=x }",
    "an iframe": '<iframe src="https://evil.example"></iframe>',
    "a frame with a document": "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "an object": "<object data=x></object>",
    "an embedded file": "<embed src=x>",
    "a form": "<form action=https://evil.example><div>x</div></form>",
    "a field": "text <input name=password>",
    "a button": "text <button formaction=javascript:alert(1)>x</button>",
    "a refresh": '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    "a base": "<base href=https://evil.example/>",
    "a style": "<style>* { background: url(https://evil.example) }</style>",
    "a style sheet": "text <link rel=stylesheet href=//evil.example/x.css>",
    "a template": "<template><div>x</div></template>",
    "mathematics": "<math><mtext></mtext></math>",
    "a body": "<body onload=alert(1)>",
    "an element of somebody": "<x-y>z</x-y>",
    "an instruction": "<?php x ?>",
    "a declaration": "<!DOCTYPE html>",
    "a link to a script": "[x](javascript:alert(1))",
    "a link in capitals": "[x](JaVaScRiPt:alert(1))",
    "a link in entities": "[x](&#106;avascript&colon;alert(1))",
    "a link with a tab": "[x](java&#9;script:alert(1))",
    "a link with a line's end": "[x](<java&#10;script:alert(1)>)",
    "a link behind a blank": "[x](<&#1; javascript:alert(1)>)",
    "a link by reference": "[x][1]\n\n[1]: javascript:alert(1)",
    "a link in angle brackets": "<javascript://x/%0aalert(1)>",
    "a link in HTML": '<a href="javascript:alert(1)">x</a>',
    "a link in an attribute list": "[x](y.md){ href=javascript:alert(1) }",
    "a link to data": "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "a link to VBScript": "[x](vbscript:x)",
    "a link to a file": "[x](file:///etc/passwd)",
    "a link to a blob": "[x](blob:https://evil.example/1)",
    "a link without a scheme": "[x](//evil.example)",
    "a link with backslashes": r"[x](<\\\\evil.example>)",
    "a picture of data": "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "a picture from elsewhere": "![x](https://evil.example/x.png)",
    "a picture by reference": "![x][1]\n\n[1]: https://evil.example/x.png",
    "an id of the theme": "## H { #__config }",
    "an id that stands twice": "## H { #one }\n\n## K { #one }",
}


def built(text: str) -> str:
    extensions: list[str | Extension] = [
        "admonition",
        "attr_list",
        "def_list",
        "footnotes",
        "md_in_html",
        "tables",
        "toc",
        "pymdownx.highlight",
        "pymdownx.inlinehilite",
        "pymdownx.superfences",
        "pymdownx.tabbed",
        RawHtmlExtension(),
    ]
    return markdown.markdown(
        text,
        extensions=extensions,
        extension_configs={"pymdownx.tabbed": {"alternate_style": True}},
    )


@pytest.fixture(autouse=True)
def _page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "current", page.Page("page.md"))


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_its_line(text: str) -> None:
    """Never later than on the line where it begins, or on the one where its reference is."""
    with pytest.raises(PageError, match=r"\Adocs/page\.md:\d+: ") as refused:
        built(BEFORE + text + "\n")
    line = int(str(refused.value).split(":")[1])
    assert LINE <= line < LINE + 1 + text.count("\n")


HELD = """# Page

Text with `<script>`, &lt;script> and a < b > c, [a page](page.md), [another](../x.md#y),
<https://example.com>, <you@example.com>, [mail](mailto:you@example.com), L<sub>q</sub>,
β<sup>2</sup>, <kbd>Esc</kbd>, ![a mark](mark.svg). A note.[^1]
{ .lead data-for="kafka" }

<!-- rumdl-disable MD013 -->

<div class="sheet dense" markdown>

- [x] An item
- **Kafka**: another { data-for="kafka" }

</div>

!!! warning "Title"
    Text

=== "One"

    ```{.html title="page.html" hl_lines="1" linenums="1" onclick="no" data-snippet="x"}
    <script onload="javascript:alert(1)">
    ```

=== "Two"

    Text

| a | b |
|:--|--:|
| c | `onclick=x` |

Term
:   Definition, onclick=nothing

[^1]: <https://example.com/javascript:no>
"""


def test_what_pages_use_is_held() -> None:
    """Code, escaped signs, plain links and the elements of the short list."""
    html = built(HELD)
    assert "<sub>q</sub>" in html
    assert '<div class="sheet dense">' in html
    assert "alert" in html
    assert "<script" not in html
    assert 'onclick="no' not in html


@pytest.mark.parametrize(
    "drawn",
    [
        '<svg><a xlink:href="javascript:alert(1)"><text>x</text></a></svg>',
        "<svg><g onclick='alert(1)'/></svg>",
        "<svg><use href='data:image/svg+xml,x#y'/></svg>",
        "<svg><foreignObject><p>x</p></foreignObject></svg>",
        "<svg><animate attributeName=href to=javascript:alert(1) /></svg>",
        "<svg><image href='https://evil.example/x.png'/></svg>",
        "<svg><style>g { fill: url(https://evil.example/x) }</style></svg>",
        "<svg><style>@import '//evil.example/x';</style></svg>",
        "<svg><g style='fill: url( \"//evil.example\")'/></svg>",
        "<svg><rect fill='url(https://evil.example/x#y)'/></svg>",
        "<form action='/steal'></form>",
        "<input type=password>",
        "<button type=submit>x</button>",
        "<p>x</p><body onload=alert(1)>",
    ],
)
def test_what_a_directive_writes_is_checked_too(drawn: str) -> None:
    """A drawing is made of an author's words, so the page as a whole has a list as well."""
    whole = markdown.Markdown(extensions=[RawHtmlExtension()]).postprocessors["raw_html_whole"]
    kept = '<svg><g style="fill: url(#a)"/></svg><form method="dialog"><input type="radio"></form>'
    assert whole.run(kept) == kept
    with pytest.raises(PageError, match=r"\Adocs/page\.md: "):
        whole.run(drawn)
