"""The broker switch in a real browser: chosen once, remembered, linked, announced, undone."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from handbook.brokers import BROKERS
from tests.site.conftest import DOCS, Site
from tests.site.test_every_page import AXE, violations

PAGE = "patterns/work-queue/"
ROWS = "article tr[data-for~={}]:visible"
#: A phone's reader downloads these with each first page.
FILES = ("css/broker.css", "javascript/broker.js")


@pytest.fixture
def context(browser: Browser, built_site: Site) -> Iterator[BrowserContext]:
    opened = browser.new_context(base_url=built_site.address)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def test_a_choice_hides_the_others_and_is_remembered(page: Page) -> None:
    """Also on the next page, and after a reload; *Compare all* brings everything back."""
    page.goto(PAGE)
    expect(page.locator(ROWS.format("kafka"))).not_to_have_count(0)
    switch = page.get_by_label("Broker", exact=True)
    switch.select_option("nats")
    expect(
        page.get_by_role("status").filter(has_text="Showing NATS JetStream only")
    ).to_be_visible()
    expect(page.locator(ROWS.format("nats"))).not_to_have_count(0)
    expect(page.locator(ROWS.format("kafka"))).to_have_count(0)
    expect(page.locator(".tabbed-block:visible")).to_have_count(1)
    expect(page.locator(".tabbed-block:visible [data-snippet]")).to_have_attribute(
        "data-snippet", "patterns/work_queue/on_nats.py"
    )
    assert page.url.endswith("?broker=nats")
    page.goto("best-practices/python-clients/")
    expect(page.get_by_role("heading", name="NATS")).to_be_visible()
    expect(page.get_by_role("heading", name="Kafka")).to_be_hidden()
    contents = page.locator(".md-sidebar--secondary")
    expect(contents.get_by_role("link", name="NATS")).to_be_visible()
    expect(contents.get_by_role("link", name="Kafka")).to_be_hidden()
    page.get_by_label("Broker", exact=True).select_option("")
    expect(page.get_by_role("heading", name="Kafka")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Kafka")).to_be_visible()


def test_it_follows_to_the_next_page_without_a_reload(page: Page) -> None:
    """The theme fetches the next page and replaces the content."""
    page.goto(PAGE)
    page.get_by_label("Broker", exact=True).select_option("redis")
    page.locator(".md-footer__link--next").click()
    expect(page).to_have_url(re.compile("publish-subscribe/"))
    expect(page.get_by_label("Broker", exact=True)).to_have_value("redis")
    expect(page.locator(ROWS.format("kafka"))).to_have_count(0)


def test_a_link_chooses(page: Page) -> None:
    """Before the page is painted: nothing of the others flashes."""
    page.add_init_script(
        "document.addEventListener('readystatechange', () =>"
        " { window.early ??= document.documentElement.dataset.broker }, { once: true })"
    )
    page.goto(f"{PAGE}?broker=postgresql")
    assert page.evaluate("window.early") == "postgresql"
    expect(page.locator(ROWS.format("postgresql"))).not_to_have_count(0)
    expect(page.locator(ROWS.format("mqtt"))).to_have_count(0)


def test_a_link_to_what_is_hidden_shows_all(page: Page) -> None:
    """For this page only: the choice stays remembered."""
    page.goto(f"{PAGE}?broker=redis")
    page.get_by_label("Broker", exact=True).select_option("nats")
    page.goto("best-practices/python-clients/#kafka")
    expect(page.get_by_role("heading", name="Kafka")).to_be_in_viewport()
    page.goto(PAGE)
    expect(page.get_by_label("Broker", exact=True)).to_have_value("nats")


def test_a_page_without_the_chosen_broker_shows_all(page: Page) -> None:
    """Nobody shall meet an empty table, nor a broker's name that does not exist."""
    for asked in ("minibroker", "no-such-broker"):
        page.goto(f"best-practices/python-clients/?broker={asked}")
        expect(page.get_by_label("Broker", exact=True)).to_have_value("")
        expect(page.get_by_role("heading", name="Kafka")).to_be_visible()


@pytest.mark.parametrize("damaged", ["#%ff", "?broker=%22]"])
def test_an_address_with_nonsense_still_has_the_switch(page: Page, damaged: str) -> None:
    page.goto(PAGE + damaged)
    page.get_by_label("Broker", exact=True).select_option("kafka")
    expect(page.locator(ROWS.format("kafka"))).not_to_have_count(0)
    expect(page.locator(ROWS.format("nats"))).to_have_count(0)


def test_without_scripts_everything_is_there(browser: Browser, built_site: Site) -> None:
    """And no switch that would do nothing."""
    context = browser.new_context(base_url=built_site.address, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{PAGE}?broker=nats")
    expect(page.locator(".broker-switch")).to_be_hidden()
    for broker in BROKERS:
        expect(page.locator(ROWS.format(broker.key))).not_to_have_count(0)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_one_broker_is_accessible(page: Page, scheme: str) -> None:
    """With the switch under the header, on a phone."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"{PAGE}?broker=mqtt")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    page.evaluate("scrollTo(0, 2000)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(page, colours_only=False) == []


def test_it_is_small() -> None:
    """At most 3 kB, compressed."""
    sizes = [len(gzip.compress((DOCS / "assets" / name).read_bytes())) for name in FILES]
    assert sum(sizes) <= 3000
