"""The content security policy of the built pages, in a real browser: the site works under it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from handbook.page import PageError
from handbook.policy import check
from tests.site.conftest import Site

#: What each page of the site has, and nothing else has.
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
#: Each sets a variable of the window, if the browser runs it.
INJECTED = {
    "a script": "<script>window.injected = 1</script>",
    "a script from elsewhere": '<script src="http://elsewhere.invalid/x.js"></script>',
    "a script of data": '<script src="data:text/javascript,window.injected=1"></script>',
    "a handler": '<img src="data:," onerror="window.injected = 1">',
    "a handler of a drawing": '<svg onload="window.injected = 1"></svg>',
    "a frame": """<iframe srcdoc="<script>parent.injected = 1</script>"></iframe>""",
}


@pytest.fixture
def page(browser: Browser, built_site: Site) -> Iterator[Page]:
    context = browser.new_context(base_url=built_site.address)
    yield context.new_page()
    context.close()


def test_all_pages_have_one_policy_that_runs_no_script_of_a_page(built_site: Site) -> None:
    """Instant navigation keeps that of the first page."""
    pages = sorted(built_site.folder.rglob("*.html"))
    policies = {_POLICY.findall(file.read_text(encoding="utf-8"))[0] for file in pages}
    assert len(policies) == 1
    directives = dict(
        directive.split(maxsplit=1) for each in policies for directive in each.split("; ")
    )
    assert directives["default-src"] == "'none'"
    for name, sources in directives.items():
        assert ("'unsafe-inline'" in sources) == (name == "style-src")
        assert "'unsafe-eval'" not in sources
        assert "http" not in sources


@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED)
def test_what_is_injected_does_not_run(page: Page, built_site: Site, injected: str) -> None:
    """The page as it is published, with something in it that no build has seen."""
    html = (built_site.folder / "why" / "index.html").read_text(encoding="utf-8")

    def answer(route: Route) -> None:
        route.fulfill(
            body=html.replace("</article>", f"{injected}</article>"), content_type="text/html"
        )

    page.route("**/why/", answer)
    with page.expect_console_message(lambda said: "Content Security Policy" in said.text):
        page.goto("why/")
    page.wait_for_load_state("load")
    assert page.evaluate("window.injected") is None
    # The page itself works on.
    expect(page.locator("html")).to_have_class(re.compile(r"\bjs\b"))


@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED)
def test_the_build_refuses_it(built_site: Site, injected: str) -> None:
    """Whatever it came in by."""
    html = (built_site.folder / "why" / "index.html").read_text(encoding="utf-8")
    policy = _POLICY.findall(html)[0]
    check(html, "docs/why.md", policy)
    with pytest.raises(PageError, match=r"docs/why\.md: the page has "):
        check(html.replace("</article>", f"{injected}</article>"), "docs/why.md", policy)


def test_no_page_sends_what_it_has_to_another_site(page: Page) -> None:
    """Not even a script of our own could."""
    page.goto("why/")
    with page.expect_console_message(lambda said: "Content Security Policy" in said.text):
        said = page.evaluate(
            "fetch('http://elsewhere.invalid/').then(() => 'sent', () => 'refused')"
        )
    assert said == "refused"
