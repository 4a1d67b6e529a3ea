"""What is left out of pages and style sheets, and what stays."""

from __future__ import annotations

import pytest

from handbook.light import lighten, purge

SNIPPET = (
    '<div class="snippet highlight" data-snippet="a.py"><span class="filename">a.py</span>'
    '<pre><span></span><code><span class="linenos" data-linenos=" 1 "></span>'
    '<span class="n">wait</span><span class="p">()</span>\n'
    '<span class="hll"><span class="linenos" data-linenos=" 2 "></span>'
    '<span class="k">pass</span>\n</span></code></pre></div>'
)


def test_a_blocks_numbers_are_one_element_and_idle_spans_go() -> None:
    """The text stays, to the letter, and so do colours and marks."""
    assert lighten(SNIPPET) == (
        '<div class="snippet highlight" data-snippet="a.py"><span class="filename">a.py</span>'
        '<pre><span></span><code><span class="linenos" data-linenos="  1&#10;  2"></span>'
        'wait()\n<span class="hll"><span class="k">pass</span>\n</span></code></pre></div>'
    )


def test_a_command_keeps_its_prompts() -> None:
    """Each of its lines begins with one, which stands where the number would."""
    command = SNIPPET.replace("snippet highlight", "command highlight")
    assert lighten(command) == command


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        (".on{color:red}", ".on{color:red}"),
        (".off{color:red}", ""),
        (".on .off{color:red}", ""),
        (".off,.on>a:hover{color:red}", ".on>a:hover{color:red}"),
        (".on :is(.on,.off){color:red}", ".on :is(.on,.off){color:red}"),
        (".made-later{color:red}", ".made-later{color:red}"),
        ("[dir=rtl] .on{color:red}", ""),
        (".on{-webkit-mask:none;mask:none}", ".on{mask:none}"),
        ("@media print{.off{color:red}}", ""),
        ("@media print{.on{color:red}}", "@media print{.on{color:red}}"),
        ("a{--x:1;--y:2;color:var(--y)}", "a{--y:2;color:var(--y)}"),
        (".off{color:var(--x)}a{--x:1}", ""),
        ("[data-md-color-accent=red]{color:red}", ""),
        ("[data-md-color-accent=on]{color:red}", "[data-md-color-accent=on]{color:red}"),
        ("/* why */ a { color: red; }", "a{color: red}"),
        ('@font-face{src:url("a.woff2")}', '@font-face{src:url("a.woff2")}'),
    ],
)
def test_rules_stay_whose_classes_are_used(css: str, kept: str) -> None:
    """`made-` is a word of a script, which puts the rest behind it."""
    assert purge(css, {"on", "made-"}) == kept
