"""The page for addresses that do not exist."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.site.conftest import PAGES, Opener, Site


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("patterns/workqueue.html", "Work queue"),
        ("best-practice/observabilty/", "Observability"),
        ("rabbit-mq", "RabbitMQ"),
        ("errors/rabitmq", "Errors of RabbitMQ"),
        ("errors/kafka/no-such-group/", "Errors of Kafka"),
    ],
)
def test_it_names_the_page_that_was_meant(
    visit: Opener, built_site: Site, typed: str, meant: str
) -> None:
    page = visit("404.html").page
    lost = built_site.folder / "404.html"
    page.route(f"**/{typed}", lambda route: route.fulfill(path=lost, status=404))
    page.goto(f"/{typed}")
    closest = page.locator(".lost-close li")
    closest.first.get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text(meant)


def test_an_address_that_is_no_text_is_borne(visit: Opener, built_site: Site) -> None:
    seen = visit("404.html")
    page = seen.page
    lost = built_site.folder / "404.html"
    page.route("**/errors/*", lambda route: route.fulfill(path=lost))
    page.goto("/errors/redis%ff")
    expect(page.locator(".lost-close li").first).to_have_text("Redis Streams Errors")
    assert seen.complaints == []


def test_it_has_every_page_and_the_search(visit: Opener, built_site: Site) -> None:
    page = visit("404.html").page
    links = page.locator(".lost-all a").evaluate_all("links => links.map(link => link.href)")
    assert sorted(links) == sorted(built_site.address + path for path in PAGES)
    expect(page.locator(".lost-close")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator(".md-search__input")).to_be_focused()
