"""What holds for each page: it asks no one else, complains of nothing, fits, and can be used."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.site.conftest import PAGES, REPOSITORY, ROOT, Opener, Read, Site

#: The theme measures code and lets the keyboard reach what scrolls, a moment after the size is set.
REACHABLE = """[...document.querySelectorAll('pre > code')].every(
    code => code.scrollWidth <= code.clientWidth || code.tabIndex === 0)"""
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
#: Axe's rules that see colours, and those that see sizes.
COLOURS = ["color-contrast", "link-in-text-block"]
SIZES = ["target-size", "scrollable-region-focusable"]
#: What axe looks at by width, in the light scheme and in the dark one; None is all. Its other rules
#: see no difference between schemes, and no rule sees one between the colours of two phones. What
#: links have beside the words around them does not change with the width.
LOOKED_AT: dict[int, tuple[list[str] | None, list[str]]] = {
    1280: (None, COLOURS[:1]),
    390: (SIZES, COLOURS),
    320: (None, []),
}
#: The height of a diagram's letters in its source.
LETTERS = 16
everywhere = pytest.mark.parametrize("path", [*PAGES, "404.html"], ids=lambda path: path or "home")


def test_the_site_has_the_pages_of_docs(built_site: Site) -> None:
    """Every test below sees every page."""
    sitemap = (built_site.folder / "sitemap.xml").read_text(encoding="utf-8")
    built = re.findall(r"<loc>(.+?)</loc>", sitemap)
    assert sorted(built) == sorted(built_site.address + path for path in PAGES)


@everywhere
def test_a_page_keeps_to_itself_fits_and_is_accessible(
    visit: Opener, built_site: Site, path: str
) -> None:
    """No request leaves the site, nothing complains, nothing is too wide, axe finds nothing."""
    if not AXE.is_file():
        pytest.fail(
            f"{AXE.relative_to(ROOT)} is missing: run `make test`, which installs it", pytrace=False
        )
    seen = visit(path)
    seen.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    seen.page.evaluate(AXE.read_text(encoding="utf-8"))
    body = seen.page.locator("body")
    for dark in (False, True):
        seen.page.emulate_media(color_scheme="dark" if dark else "light")
        expect(body).to_have_attribute("data-md-color-scheme", "slate" if dark else "default")
        for width, rules in LOOKED_AT.items():
            seen.page.set_viewport_size({"width": width, "height": 900})
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            seen.page.wait_for_function(REACHABLE)
            assert violations(seen.page, rules[dark]) == []
    origins = {f"{url.scheme}://{url.netloc}/" for url in map(urlsplit, seen.requests)}
    assert origins == {built_site.address}
    assert seen.complaints == []
    seen.page.context.close()


#: Those that have an end.
ANIMATIONS_DONE = """() => document.getAnimations()
  .filter(each => each.playbackRate && isFinite(each.effect?.getComputedTiming().endTime))
  .forEach(each => each.finish())"""

FOUND = """async options => (await axe.run(options)).violations.flatMap(
    rule => rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 200)}`))"""


def violations(
    page: Page, rules: list[str] | None = None, *, colours_only: bool = False
) -> list[str]:
    """Return what axe finds, a line each: by these rules, or by all."""
    rules = COLOURS if colours_only else rules
    if rules == []:
        return []
    page.evaluate(ANIMATIONS_DONE)  # a colour that is changing is neither of the two
    options: dict[str, object] = {"resultTypes": ["violations"], "selectors": False}
    # Of the rules of WCAG 2.2, axe leaves this one out until it is asked for it.
    options |= {"runOnly": rules} if rules else {"rules": {"target-size": {"enabled": True}}}
    found: list[str] = page.evaluate(FOUND, options)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path or "home")
def test_a_page_can_be_edited_in_the_repository(read: Read, path: str) -> None:
    """The link beside the heading leads to the page's source."""
    start, _, source = (read(path).locator("a[rel=edit]").get_attribute("href") or "").partition(
        "/edit/main/"
    )
    assert start == REPOSITORY
    assert (ROOT / source).is_file()


@everywhere
def test_diagrams_say_what_they_show(read: Read, path: str) -> None:
    """Each diagram has a title and a description, and is read on a phone without scrolling."""
    page = read(path)
    diagrams = page.locator("figure.diagram svg").all()
    for svg in diagrams:
        for attribute in ("aria-labelledby", "aria-describedby"):
            assert page.locator(f"#{svg.get_attribute(attribute)}").text_content(), attribute
    if diagrams:
        page.set_viewport_size({"width": 390, "height": 900})
        shrunk = [
            svg.evaluate("svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width")
            for svg in diagrams
        ]
        frames = page.locator(".diagram-scroll").all()
        hidden = [each.evaluate("each => each.scrollWidth - each.clientWidth") for each in frames]
        page.set_viewport_size({"width": 1280, "height": 900})
        assert max(hidden) <= 1
        assert min(shrunk) * LETTERS >= 11
