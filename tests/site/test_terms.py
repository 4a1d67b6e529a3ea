"""Terms of the glossary on the pages: the keyboard reaches them and their definition shows."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from handbook.glossary import terms
from tests.site.conftest import PAGES, ROOT, Read, Site

READ = [path for path in PAGES if path != "terms/"]


@pytest.mark.parametrize("path", READ, ids=lambda path: path or "home")
def test_a_term_shows_its_definition(read: Read, path: str) -> None:
    """Focus on a term opens its definition; its link leads to the glossary's entry."""
    page = read(path)
    definitions = {term.definition: term for term in terms(ROOT)}
    link = page.locator("article a.term:visible").first
    assert link.count(), f"no term of the glossary is marked on /{path}"
    definition = link.get_attribute("title") or ""
    assert (link.get_attribute("href") or "").endswith(f"#{definitions[definition].anchor}")
    link.focus()
    expect(link).to_have_attribute("aria-describedby", re.compile("."))
    tip = page.locator(f"#{link.get_attribute('aria-describedby')}")
    expect(tip).to_have_class(re.compile("md-tooltip2--active"))
    expect(tip).to_have_text(definition)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path or "home")
def test_terms_are_never_marked_in_headings_links_or_code(read: Read, path: str) -> None:
    """A term stands in running text only."""
    page = read(path)
    wrong = ":is(h1, h2, h3, h4, h5, h6, a, code, pre, summary) a.term"
    assert page.locator(wrong).count() == 0


def test_a_tap_shows_a_definition_and_stays(browser: Browser, built_site: Site) -> None:
    """A second tap leads to the entry. Escape closes what is shown, and the focus stays."""
    context = browser.new_context(
        base_url=built_site.address, has_touch=True, viewport={"width": 390, "height": 900}
    )
    page = context.new_page()
    page.goto("why/")
    term = page.locator("article a.term:visible").first
    tip = page.locator(".md-tooltip2--active")
    page.wait_for_function("window.document$")
    definition = term.get_attribute("title") or ""
    term.tap()
    expect(tip).to_have_text(definition)
    assert page.url == f"{built_site.address}why/"
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    expect(term).to_be_focused()
    term.tap()
    expect(page).to_have_url(re.compile(r"/terms/#"))
    context.close()
