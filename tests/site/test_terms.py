"""Terms of the glossary on the pages: the keyboard reaches them and their definition shows."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from handbook.glossary import terms
from tests.site.conftest import PAGES, ROOT, Opener, Read, Site

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


def test_the_terms_are_listed_from_a_to_z_and_can_be_filtered(visit: Opener) -> None:
    """A filter leaves the terms that have the word, in their headings' sections."""
    page = visit("terms/").page
    names = sorted((term.name for term in terms(ROOT)), key=str.lower)
    box = page.locator(".terms-find")
    expect(box.get_by_role("searchbox")).to_be_visible()
    listed = box.locator("li a").all_text_contents()
    assert sorted(listed, key=str.lower) == names
    box.get_by_label("Find a term").fill("poison")
    expect(box.get_by_role("status")).to_contain_text(f"of {len(names)} terms")
    expect(page.locator("h3#poison-message")).to_be_visible()
    expect(page.locator("h3#latency")).to_be_hidden()
    expect(page.locator("h2#architecture")).to_be_hidden()
    page.evaluate("location.hash = '#latency'")
    expect(page.locator("h3#latency")).to_be_visible()


def test_on_a_phone_the_contents_of_a_page_are_one_tap_away(visit: Opener) -> None:
    page = visit("best-practices/capacity/").page
    contents = page.locator(".on-this-page")
    expect(contents).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 900})
    contents.locator("summary").click()
    links = contents.get_by_role("link")
    expect(links.first).to_be_visible()
    heads = page.locator("article h2").evaluate_all("heads => heads.map(head => `#${head.id}`)")
    assert links.evaluate_all("links => links.map(link => link.hash)") == heads
