"""The playground in a browser: it draws what the handbook recorded, and what a reader sets."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.site.conftest import Opener
from tests.site.test_every_page import AXE, violations
from tests.site.test_run import LOADED, PATIENT, output

PLAYGROUND = "labs/playground/"
AFTER = re.compile("^After 60 simulated seconds")


class Playground:
    """The sliders, curves and buttons of an open page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.evaluate(PATIENT)
        self.whole = page.get_by_role("group", name="Playground", exact=True)
        self.status = self.whole.get_by_role("status")

    def slider(self, label: str) -> Locator:
        return self.whole.get_by_role("slider", name=label)

    def ran(self) -> list[float]:
        """Return the highest value of each curve, once they are there."""
        expect(self.status).to_have_text(AFTER, timeout=LOADED)
        labels = [str(each.get_attribute("aria-label")) for each in self.curves()]
        return [float(re.findall(r"at most ([\d.]+), ", label)[0]) for label in labels]

    def curves(self) -> list[Locator]:
        return self.whole.get_by_role("img").all()


def recorded() -> dict[str, list[float]]:
    """Return the highest value of each curve of each situation."""
    found: dict[str, list[float]] = {}
    for line in output("labs/playground.py").splitlines():
        title, colon, _ = line.partition(":")
        if colon:
            found[title] = values = []
        else:
            values.append(float(line.split()[-1]))
    return found


def test_each_situation_is_what_the_handbook_recorded(visit: Opener) -> None:
    seen = visit(PLAYGROUND)
    playground = Playground(seen.page)
    expect(playground.status).to_contain_text("Runs in this page")
    assert not [url for url in seen.requests if "/assets/python/" in url]
    situations = recorded()
    assert len(situations) == 5
    for name, highest in situations.items():
        playground.status.evaluate("status => { status.textContent = '' }")
        seen.page.get_by_role("button", name=f"Try it: {name}").click()
        assert playground.ran() == highest, name

    poisoned = situations["Poison message"]
    playground.status.evaluate("status => { status.textContent = '' }")
    seen.page.get_by_role("button", name="Try it: Poison message").click()
    assert playground.ran() == poisoned
    playground.slider("Delivery limit").fill("3")
    expect(playground.status).to_contain_text("Dead letters: 13.", timeout=LOADED)
    assert playground.ran()[0] < 5
    for curve, before in zip(playground.curves(), poisoned, strict=True):
        assert f"before at most {before:g}." in str(curve.get_attribute("aria-label"))

    seen.page.evaluate(AXE.read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        seen.page.emulate_media(color_scheme=scheme)
        assert violations(seen.page, colours_only=scheme == "dark") == []
    seen.page.set_viewport_size({"width": 320, "height": 900})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 320
    assert seen.complaints == []


def test_a_link_sets_the_sliders_and_runs_nothing(visit: Opener) -> None:
    page = visit(PLAYGROUND).page
    playground = Playground(page)
    playground.slider("Prefetch").fill("20")
    playground.slider("Worker A takes longer").fill("8")
    playground.whole.get_by_role("button", name="Copy link").click()
    expect(playground.status).to_contain_text("The link is copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.endswith("#play:prefetch=20&slow=8")

    seen = visit(f"{link}&rate=999&workers=many&nonsense=1&kill=20&lose=99&twice=1.5")
    linked = Playground(seen.page)
    expect(linked.status).to_contain_text("The link has set the sliders.")
    values = {"Prefetch": "20", "Worker A takes longer": "8", "Tasks a second": "12"}
    for label, value in (values | {"Workers": "3"}).items():
        expect(linked.slider(label)).to_have_value(value)
    expect(linked.whole).to_contain_text("Second 20: Kill worker A.")
    expect(linked.whole.locator(".playground-faults")).to_have_text("Second 20: Kill worker A.")
    assert not [url for url in seen.requests if "/assets/python/" in url]
    linked.whole.get_by_role("button", name="Reset").click()
    expect(linked.slider("Prefetch")).to_have_value("1")
    seen.page.goto(link.replace("prefetch=20", "prefetch=9"))
    expect(linked.slider("Prefetch")).to_have_value("9")
    assert seen.complaints == []


def test_what_goes_wrong_at_a_second_is_seen_from_then_on(visit: Opener) -> None:
    seen = visit(PLAYGROUND)
    playground = Playground(seen.page)
    playground.whole.get_by_role("button", name="Run", exact=True).click()
    assert playground.ran()[3] == 0
    playground.slider("At second").fill("30")
    playground.whole.get_by_role("button", name="Lose an acknowledgement").click()
    expect(playground.status).to_contain_text("Done twice: 1.", timeout=LOADED)
    expect(playground.whole).to_contain_text("Second 30: Lose an acknowledgement.")
    playground.whole.get_by_role("button", name="Publish a task twice").click()
    expect(playground.status).to_contain_text("Done twice: 2.", timeout=LOADED)
    playground.whole.get_by_role("button", name="Reset").click()
    expect(playground.status).to_contain_text("Done twice: 0.", timeout=LOADED)
    expect(playground.whole).not_to_contain_text("Second 30")
    assert seen.complaints == []
