"""The chooser in a real browser: by keyboard alone, and without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from handbook.directives import choose
from tests.site.conftest import ROOT, Opener, Site
from tests.site.test_every_page import AXE, violations

PAGE = "types/choose/"
CHOOSER = choose.load(ROOT, "types/choose.yml")


@pytest.fixture
def page(browser: Browser, built_site: Site) -> Iterator[Page]:
    """The chooser, for a reader who allows no scripts."""
    context = browser.new_context(base_url=built_site.address, java_script_enabled=False)
    opened = context.new_page()
    opened.goto(PAGE)
    yield opened
    context.close()


def pressing(page: Page, number: int) -> None:
    """Go on to the next question and choose its option of that number, from 1, by keyboard."""
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # the first one
    for _ in range(number - 1):
        page.keyboard.press("ArrowDown")


def test_a_path_by_keyboard_without_javascript(page: Page) -> None:
    """Only what follows from the choices is in sight, and Enter does not throw them away."""
    expect(page.locator("fieldset:visible")).to_have_count(1)
    expect(page.locator(".choose-answer:visible")).to_have_count(0)
    page.locator(".choose input").first.focus()
    page.keyboard.press("Shift+Tab")
    for number, asked in ((4, 2), (1, 3), (2, 4)):
        pressing(page, number)
        expect(page.locator("fieldset:visible")).to_have_count(asked)
        expect(page.locator(".choose-answer:visible")).to_have_count(0)
    pressing(page, 1)
    answer = page.locator(".choose-answer:visible")
    expect(answer).to_have_count(1)
    expect(answer.locator("h3")).to_have_text("RabbitMQ")
    page.keyboard.press("Enter")
    expect(answer.locator("h3")).to_have_text("RabbitMQ")
    page.keyboard.press("Tab")
    expect(answer.locator("a").first).to_be_focused()


def test_another_choice_higher_up_takes_the_answer_away(page: Page) -> None:
    """What was chosen below stays checked, and is out of sight."""
    page.locator("#choose-4").check()
    page.locator("#choose-4-1").check()
    page.locator("#choose-4-1-1").check()
    expect(page.locator(".choose-answer:visible h3")).to_have_text("No new server: PostgreSQL")
    page.locator("#choose-1").check()
    expect(page.locator(".choose-answer:visible h3")).to_have_text("No broker: call it")
    page.get_by_role("button", name="Start again").click()
    expect(page.locator(".choose-answer:visible")).to_have_count(0)
    expect(page.locator(".choose :checked")).to_have_count(0)


def test_each_path_shows_its_answer_and_no_other(page: Page) -> None:
    """The style sheet knows as many options as the questions have."""
    for answer in page.locator(".choose-answer").all():
        place = (answer.get_attribute("aria-labelledby") or "").removesuffix("-answer")
        _, *numbers = place.split("-")
        for depth in range(len(numbers)):
            page.locator("#" + "-".join(["choose", *numbers[: depth + 1]])).check()
        expect(page.locator(".choose-answer:visible")).to_have_count(1)
        expect(answer).to_be_visible()
    assert page.locator(".choose-answer").count() == len(list(CHOOSER.paths()))


def test_without_has_everything_is_in_sight_in_order(page: Page, built_site: Site) -> None:
    """Where a browser does not know `:has()`, each branch says which choice leads to it."""
    (sheet,) = built_site.folder.glob("assets/css/handbook.*.css")
    known, unknown = "selector(:has(*))", "selector(:unknown(*))"
    css = sheet.read_text(encoding="utf-8")
    assert known in css
    css = css.replace(known, unknown)
    page.route("**/*.css", lambda route: route.fulfill(body=css, content_type="text/css"))
    page.reload()
    expect(page.locator(".choose-answer:visible")).to_have_count(len(list(CHOOSER.paths())))
    said = page.locator(".choose-if:visible").all_text_contents()
    assert len(said) == page.locator(".choose input").count()


def test_the_address_holds_the_path(visit: Opener) -> None:
    page = visit(PAGE).page
    for option in ("4", "4-2", "4-2-1", "4-2-1-1"):
        page.locator(f"#choose-{option}").check()
    expect(page).to_have_url(re.compile(r"/#choose-4-2-1-1$"))
    page.context.close()
    page = visit(f"{PAGE}#choose-4-2-1-1").page
    expect(page.locator(".choose-answer:visible h3")).to_have_text("Kafka")
    page.get_by_role("button", name="Start again").click()
    expect(page).to_have_url(re.compile(r"/types/choose/$"))
    expect(page.locator(".choose-record")).to_be_hidden()
    page.context.close()


def test_a_path_can_be_printed_as_the_record_of_a_decision(visit: Opener) -> None:
    """It has the questions, the choices, the reasons, the date, and nothing else of the page."""
    page = visit(f"{PAGE}#choose-4-2-1-1").page
    page.evaluate("print = () => {}")
    page.get_by_role("button", name="Print as a decision record").click()
    page.emulate_media(media="print")
    signed = page.locator(".choose-signed")
    expect(signed).to_have_text(re.compile(r"Decision record, \d{4}-\d\d-\d\d: Kafka\..*#choose-4"))
    expect(page.locator("fieldset:visible")).to_have_count(4)
    expect(page.locator("article > :visible")).to_have_count(1)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(signed).to_be_hidden()
    page.context.close()


def test_an_answer_is_accessible_and_fits(visit: Opener) -> None:
    """Also on a phone, and in the dark."""
    page = visit(PAGE).page
    page.emulate_media(color_scheme="dark")
    page.locator("#choose-4").check()
    page.locator("#choose-4-2").check()
    page.locator("#choose-4-2-1").check()
    page.locator("#choose-4-2-1-1").check()
    expect(page.locator(".choose-answer:visible h3")).to_have_text("Kafka")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page) == []
    page.context.close()
