"""Firefox runs what Chromium runs: snippets, their flow, the playground, and nothing beyond."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.site.conftest import Guestbook
from tests.site.firefox import Firefox, Tab, command, firefox
from tests.site.test_playground import recorded
from tests.site.test_run import (
    COMPANIONS,
    IDEA,
    PATIENT,
    REACH,
    REACHED,
    RUN_IN_PAGE,
    code,
    output,
)

QUEUE_PAGE = "patterns/work-queue/?broker=minibroker"
RIGHT = "\ue014"
#: A few: that all of them print the same is Chromium's test.
PATHS = (IDEA, "patterns/event_replay/on_minibroker.py", "labs/playground.py")
#: A function that comes back when a text is in what matches a selector.
UNTIL = """async (selector, text) => {
  const there = () => [...document.querySelectorAll(selector)].find(
    each => each.textContent.includes(text));
  while (!there()) await new Promise(again => setTimeout(again, 50));
  return there().textContent;
}"""


@pytest.fixture(scope="module")
def fox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """One Firefox for the tests of this file."""
    start = command()
    if start is None:
        pytest.skip("no Firefox: `make servers` fetches one, or name yours in FIREFOX")
    with firefox(start, tmp_path_factory.mktemp("firefox")) as running:
        yield running


@pytest.fixture(scope="module")
def page(fox: Firefox, port: int) -> Tab:
    """A page whose Python is loaded once for all snippets."""
    tab = fox.open(f"http://127.0.0.1:{port}/{QUEUE_PAGE}")
    tab.run(PATIENT)
    tab.run("""async () => { window.python = await import("/assets/javascript/run/python.js"); }""")
    return tab


def run(page: Tab, path: str, text: str) -> Any:
    """Return what a program prints on the page, with the modules that a snippet has beside it."""
    files = {each: code(each) for each in COMPANIONS[path]} | {Path(path).name: text}
    return page.run(RUN_IN_PAGE, [path, files])


@pytest.mark.parametrize("path", PATHS)
def test_it_prints_in_firefox_what_its_page_shows(page: Tab, path: str) -> None:
    result = run(page, path, code(path))
    assert result == {"output": output(path), "error": "", "why": "ended", "text": ""}


def test_what_runs_in_firefox_reaches_no_other_site(
    page: Tab, port: int, elsewhere: Guestbook
) -> None:
    other, own = f"http://127.0.0.1:{elsewhere.server_port}/", f"http://127.0.0.1:{port}/404.html"
    result = run(page, IDEA, REACH.replace("{other}", other).replace("{own}", own))
    assert result["output"].splitlines() == REACHED
    assert elsewhere.came == []


def test_the_flow_is_stepped_through_in_firefox(page: Tab) -> None:
    bar = f'[aria-label="Run {IDEA}"]'
    page.run("bar => document.querySelector(`${bar} .run-run`).click()", bar)
    status = page.run(UNTIL, f"{bar} [role=status]", "Ended after")
    assert "It printed what the handbook recorded." in status
    page.run("() => document.querySelector('.flow input').focus()")
    for says in (
        "The queue transcode keeps cat.mp4.",
        "transcode delivers cat.mp4 to A.",
        "A is gone: cat.mp4, which it held, is in transcode again.",
    ):
        page.press(RIGHT)
        page.run(UNTIL, ".flow-says", says)


def test_the_playground_draws_in_firefox_what_was_recorded(fox: Firefox, port: int) -> None:
    tab = fox.open(f"http://127.0.0.1:{port}/labs/playground/")
    tab.run(PATIENT)
    tab.run(UNTIL, ".playground-whole [role=status]", "Runs in this page")
    name, highest = next(iter(recorded().items()))
    tab.run("name => document.querySelector(`[aria-label='Try it: ${name}']`).click()", name)
    tab.run(UNTIL, ".playground-whole [role=status]", "After 60 simulated seconds")
    labels = tab.run(
        "() => [...document.querySelectorAll('.playground-plot svg')].map(e => e.ariaLabel)"
    )
    assert [float(each.split("at most ")[1].split(",")[0]) for each in labels] == highest
