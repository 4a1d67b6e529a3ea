"""Each claim and each row that has a name can be linked, and a click copies the link."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.site.conftest import Opener, Site

NAMED = "article :is(tr, tbody, .experiment)[id]"


def said(page: Page) -> Locator:
    return page.get_by_role("status").filter(has_text="Link copied")


def copied(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


@pytest.mark.parametrize("path", ["patterns/", "best-practices/survival/"])
def test_a_row_has_a_link_that_a_click_copies(visit: Opener, built_site: Site, path: str) -> None:
    page = visit(path).page
    named = page.locator(NAMED)
    assert named.count() > 10
    assert named.filter(has_not=page.locator(".headerlink")).count() == 0
    named.nth(2).locator(".headerlink").click()
    expect(said(page)).to_have_count(1)
    assert copied(page) == f"{built_site.address}{path}#{named.nth(2).get_attribute('id')}"


def test_the_keyboard_copies_the_link_of_a_claim(visit: Opener, built_site: Site) -> None:
    page = visit("patterns/work-queue/").page
    claim = page.locator(NAMED).first
    claim.locator(".headerlink").focus()
    page.keyboard.press("Enter")
    expect(said(page)).to_have_count(1)
    assert copied(page) == f"{built_site.address}patterns/work-queue/#{claim.get_attribute('id')}"


def test_a_cell_has_a_link_that_leads_to_it(visit: Opener, built_site: Site) -> None:
    """The keyboard that comes to a cell finds its link next, and the address leads to the cell."""
    page = visit("patterns/").page
    named = "#work-queue-a-killed-workers-task-goes-to-another"
    page.locator(f"{named} td[data-for=kafka] a").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(said(page)).to_have_count(1)
    assert copied(page) == f"{built_site.address}patterns/{named}/kafka"
    opened = visit(f"patterns/{named}/kafka").page
    expect(opened.locator("td:target")).to_have_attribute("data-for", "kafka")
    expect(opened.locator("td:target")).to_be_in_viewport()


def test_a_row_of_each_table_of_text_has_a_name(visit: Opener) -> None:
    page = visit("errors/").page
    rows = page.locator("article tbody > tr")
    assert rows.count() > 10
    assert rows.filter(has_not=page.locator(".headerlink")).count() == 0
