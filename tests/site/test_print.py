"""What comes out of a printer: sheets counted in the PDF that Chromium makes of a page."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.site.conftest import Opener, Site

PATTERN = "patterns/work-queue/"


def sheets(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_the_checklist_is_one_sheet_with_its_address_and_room_for_name_and_date(
    visit: Opener, built_site: Site
) -> None:
    page = visit("best-practices/checklist/").page
    assert sheets(page.pdf(format="A4", prefer_css_page_size=True)) == 1
    page.emulate_media(media="print")
    expect(page.locator(".fields strong")).to_have_text(["Service", "Checked by", "Date"])
    expect(page.locator(".on-paper")).to_be_visible()
    expect(page.locator(".on-paper")).to_contain_text(f"{built_site.address}best-practices/")


def test_a_pattern_prints_the_chosen_broker_only(visit: Opener) -> None:
    all_brokers = sheets(visit(PATTERN).page.pdf(format="A4"))
    page = visit(f"{PATTERN}?broker=rabbitmq").page
    one = sheets(page.pdf(format="A4"))
    print(f"/{PATTERN}: {one} sheets with RabbitMQ chosen, {all_brokers} with all brokers")
    assert one < 0.7 * all_brokers
    page.emulate_media(media="print")
    blocks = page.locator(".tabbed-block[data-for]")
    shown = [each.get_attribute("data-for") for each in blocks.all() if each.is_visible()]
    assert set(shown) == {"rabbitmq"}
