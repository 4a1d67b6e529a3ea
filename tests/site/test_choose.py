"""The chooser in a real browser: in any order, by keyboard alone, and without JavaScript."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from handbook.directives import choose
from tests.site.conftest import ROOT, Opener, Site
from tests.site.test_every_page import AXE, violations

PAGE = "types/choose/"
CHOOSER = choose.load(ROOT, "types/choose.yml")
TASKS_IN_POSTGRESQL = f"{PAGE}?says=task&data=shared"


def opened(visit: Opener, path: str = PAGE) -> Page:
    """Return the page as soon as its script listens."""
    page = visit(path).page
    expect(page.locator(".choose-count")).to_be_visible()
    return page


def remaining(page: Page) -> Locator:
    """What no answer rules out, the one first that most answers speak for."""
    return page.locator(".choose > .choose-list > li")


def named(page: Page, *names: str) -> Locator:
    """Return the items of these candidates."""
    return page.locator(", ".join(f'.choose-candidate[data-name="{name}"]' for name in names))


def answer(page: Page, question: str, name: str) -> None:
    page.locator(f"#choose-{question}-{name}").check()


def test_without_javascript_everything_can_be_read(browser: Browser, built_site: Site) -> None:
    context = browser.new_context(base_url=built_site.address, java_script_enabled=False)
    page = context.new_page()
    page.goto(PAGE)
    effects = [e for q in CHOOSER.questions.values() for a in q.answers.values() for e in a.effects]
    expect(page.locator(".choose-effects > li:visible")).to_have_count(len(effects))
    expect(page.locator(".choose-candidate:visible")).to_have_count(len(CHOOSER.candidates))
    expect(page.locator(".choose button:visible, .choose-count:visible")).to_have_count(0)
    context.close()


def test_questions_are_answered_in_any_order(visit: Opener) -> None:
    """The same answers leave the same, whichever came first; to leave one open takes it back."""
    page = opened(visit)
    answer(page, "runs", "small")
    answer(page, "says", "task")
    status = page.locator(".choose [role=status]")
    names = ["nats", "rabbitmq", "redis", "postgresql"]
    kept = remaining(page).evaluate_all("items => items.map(item => item.dataset.name)")
    assert kept[0] == "nats"
    assert set(names) <= set(kept)
    expect(status).to_have_text(
        f"{len(kept)} of {len(CHOOSER.candidates)} remain; spoken for most often: NATS JetStream."
    )
    page.get_by_role("button", name="Start again").click()
    expect(remaining(page)).to_have_count(len(CHOOSER.candidates))
    answer(page, "says", "task")
    answer(page, "runs", "small")
    assert remaining(page).evaluate_all("items => items.map(item => item.dataset.name)") == kept
    answer(page, "runs", "")
    answer(page, "says", "")
    expect(page.locator(".choose-ruled")).to_be_hidden()
    expect(page.locator(".choose-again")).to_be_hidden()
    page.context.close()


def test_what_is_ruled_out_names_the_answer_and_the_reason(visit: Opener) -> None:
    page = opened(visit)
    answer(page, "says", "task")
    ruled = page.locator(".choose-ruled li[data-name=mqtt] .choose-reasons")
    expect(ruled).to_have_text(re.compile("^Ruled out by .*a task, for one worker of many.*: A ki"))
    expect(ruled.locator("a")).to_have_attribute(
        "href", re.compile("work-queue/#a-killed-workers-task-goes-to-another$")
    )
    expect(named(page, "rabbitmq").locator(".choose-reasons")).to_have_text(re.compile("^For it: "))
    page.context.close()


def test_each_answer_rules_out_what_its_file_says(visit: Opener) -> None:
    page = opened(visit)
    for question, asked in CHOOSER.questions.items():
        for key, given in asked.answers.items():
            answer(page, question, key)
            out = {name for effect in given.effects if effect.out for name in effect.of}
            found = page.locator(".choose-ruled .choose-candidate").evaluate_all(
                "items => items.map(item => item.dataset.name)"
            )
            assert set(found) == out, (question, key)
        answer(page, question, "")
    page.context.close()


def test_by_keyboard(visit: Opener) -> None:
    """Arrows choose, Enter throws nothing away, and what has the focus is not covered."""
    page = opened(visit)
    page.locator("#choose-waits-").focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#choose-waits-clock")).to_be_checked()
    page.keyboard.press("Enter")
    for question in [*CHOOSER.questions][1:]:
        page.keyboard.press("Tab")
        while page.evaluate("document.activeElement.tagName") == "A":
            page.keyboard.press("Tab")
        expect(page.locator(f"#choose-{question}-")).to_be_focused()
        assert page.evaluate(
            """() => {
                const { left, top } = document.activeElement.getBoundingClientRect();
                return document.elementFromPoint(left + 3, top + 3) === document.activeElement;
            }"""
        ), question
    expect(page.locator("#choose-waits-clock")).to_be_checked()
    page.context.close()


def test_the_address_holds_the_answers(visit: Opener) -> None:
    """Beside the broker that the reader looks at, which takes none of the reasons away."""
    page = opened(visit, f"{PAGE}?broker=nats")
    answer(page, "says", "task")
    answer(page, "data", "shared")
    expect(page).to_have_url(re.compile(r"\?broker=nats&says=task&data=shared(#|$)"))
    effects = CHOOSER.questions["says"].answers["task"].effects
    expect(page.locator("#choose-says-task ~ ul > li:visible")).to_have_count(len(effects))
    page.context.close()
    page = opened(visit, TASKS_IN_POSTGRESQL)
    expect(remaining(page).first).to_have_attribute("data-name", "postgresql")
    page.get_by_role("button", name="Start again").click()
    expect(page).to_have_url(re.compile(r"/types/choose/(#|$)"))
    page.context.close()


def test_the_answers_can_be_printed_as_the_record_of_a_decision(visit: Opener) -> None:
    """It has the questions, the answers, the reasons, the date, and nothing else of the page."""
    page = opened(visit, TASKS_IN_POSTGRESQL)
    page.evaluate("print = () => {}")
    page.get_by_role("button", name="Print as a decision record").click()
    page.emulate_media(media="print")
    signed = page.locator(".choose-signed")
    expect(signed).to_have_text(
        re.compile(r"Decision record, \d{4}-\d\d-\d\d\..*\?says=task&data=shared$")
    )
    expect(page.locator(".choose-option:visible")).to_have_count(len(CHOOSER.questions))
    expect(page.locator(".choose-candidate:visible")).to_have_count(len(CHOOSER.candidates))
    expect(named(page, "postgresql").locator("details li").first).to_be_visible()
    expect(page.locator("article > :visible")).to_have_count(1)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(signed).to_be_hidden()
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_remains_is_accessible_and_fits(visit: Opener, scheme: str) -> None:
    page = opened(visit, TASKS_IN_POSTGRESQL)
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for width in (1280, 320):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page) == []
    page.context.close()
