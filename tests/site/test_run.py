"""Run below a snippet: what a reader does with it, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from handbook.runner import runnable
from tests.site.conftest import Guestbook, Opener, Site
from tests.site.test_every_page import AXE, violations
from tests.snippets.running import SNIPPETS

COMPANIONS = runnable(SNIPPETS)
QUEUE = "patterns/work_queue/on_minibroker.py"
IDEA = "patterns/work_queue/idea.py"
#: Python has to be loaded first, which takes a busy machine long.
LOADED = 240_000
LOOP = "while True:\n    pass\n"
FLOOD = "while True:\n    print('more')\n"
#: Four ways out, of which the page's policy leaves none open; the fifth is to the site itself.
REACH = """
import asyncio

import js
from pyodide.ffi import create_proxy, to_js


async def worker():
    source = "fetch('{other}').then(() => 'through', () => 'refused').then(postMessage)"
    answered = asyncio.get_running_loop().create_future()
    made = js.Worker.new(js.URL.createObjectURL(js.Blob.new(to_js([source]))))
    made.onmessage = create_proxy(lambda event: answered.set_result(event.data))
    if await answered == "refused":
        raise PermissionError


async def request():
    made = js.XMLHttpRequest.new()
    made.open("GET", "{other}", False)
    made.send()


async def main():
    for name, reach in (
        ("fetch", lambda: js.fetch("{other}")),
        ("request", request),
        ("worker", worker),
        ("code", lambda: js.eval("fetch('{other}')")),
        ("own", lambda: js.fetch("{own}")),
    ):
        try:
            await reach()
        except Exception:
            print(name, "is refused")
        else:
            print(name, "gets through")


asyncio.run(main())
"""
#: What it prints.
REACHED = [
    "fetch is refused",
    "request is refused",
    "worker is refused",
    "code is refused",
    "own gets through",
]
FAULT = "from minibroker import Broker\n\nBroker().find('nowhere')\n"


#: The page ends a run that takes longer than a reader waits. A busy machine may need that long.
PATIENT = """() => {
  const usual = setTimeout;
  window.setTimeout = (call, wait, ...given) =>
    wait >= 10_000 ? 0 : usual(call, wait, ...given);
}"""


#: How far the middle of the marked line is from that of a line of the code, in pixels.
MARKED = """([code, line]) => {
  const block = document.querySelector(`[data-snippet="${code}"] pre > code`);
  const texts = document.createTreeWalker(block, NodeFilter.SHOW_TEXT), range = new Range();
  let before = block.textContent.split("\\n").slice(0, line - 1).join("\\n").length + 1;
  while (texts.nextNode() && texts.currentNode.length <= before) before -= texts.currentNode.length;
  range.setStart(texts.currentNode, before);
  range.setEnd(texts.currentNode, before + 1);
  const [text, band] = [range, document.querySelector(".flow-here")].map(
    each => each.getBoundingClientRect());
  return Math.abs(text.top + text.height / 2 - band.top - band.height / 2);
}"""
#: How many messages move when the next step is shown.
MOVES = """forward => {
  forward.click();
  const moving = document.getAnimations().map(each => each.effect.target);
  return moving.filter(each => each.matches(".flow-message")).length;
}"""

#: Runs files in the page's Python, and returns what they print and how they end.
RUN_IN_PAGE = """async ([path, files]) => {
  const folder = new URL(document.querySelector("[data-python]").dataset.python, location);
  const printed = {output: "", error: ""};
  const listener = {loading() {}, started() {}, printed(kind, text) { printed[kind] += text; }};
  const result = await python.run(folder.href, path.split("/").pop(), files, listener);
  return {...printed, why: result.why, text: result.text};
}"""


class Bench:
    """The bar below one snippet of an open page, and what belongs to it."""

    def __init__(self, page: Page, path: str) -> None:
        self.page = page
        page.evaluate(PATIENT)
        self.bar = page.get_by_role("group", name=f"Run {path}", exact=True)
        self.status = self.bar.get_by_role("status")
        self.editor = page.get_by_role("textbox", name=f"Code of {path}.")
        self.output = page.get_by_role("log", name=f"Output of your run of {path}")

    def button(self, name: str) -> Locator:
        return self.bar.get_by_role("button", name=name, exact=True)

    def write(self, code: str) -> None:
        """Put code into the editor, which is opened where it is not."""
        if not self.editor.is_visible():
            self.button("Edit").click()
        self.editor.fill(code)

    def says(self, text: str) -> None:
        expect(self.status).to_contain_text(text, timeout=LOADED)


def code(path: str) -> str:
    return (SNIPPETS / path).read_text()


def output(path: str) -> str:
    return (SNIPPETS / path).with_suffix(".out").read_text()


@pytest.fixture(scope="module")
def python(visit: Opener) -> Iterator[Page]:
    """A page whose Python is loaded once for all snippets."""
    page = visit("patterns/work-queue/").page
    page.evaluate(PATIENT)
    page.evaluate(
        """async () => { window.python = await import("/assets/javascript/run/python.js"); }"""
    )
    yield page
    page.evaluate("python.stop()")


@pytest.mark.parametrize("path", COMPANIONS)
def test_it_prints_in_the_browser_what_its_page_shows(python: Page, path: str) -> None:
    files = {each: code(each) for each in COMPANIONS[path]} | {Path(path).name: code(path)}
    result = python.evaluate(RUN_IN_PAGE, [path, files])
    assert result == {"output": output(path), "error": "", "why": "ended", "text": ""}


def test_every_snippet_that_runs_has_its_bar(built_site: Site) -> None:
    pages = [page.read_text() for page in built_site.folder.rglob("index.html")]
    for path, beside in COMPANIONS.items():
        marked = f'data-snippet="{path}" data-run="{" ".join(beside)}"'
        assert any(marked in page for page in pages), path
    servers = [path for path in SNIPPETS.rglob("on_*.py") if path.stem != "on_minibroker"]
    assert not {path.relative_to(SNIPPETS).as_posix() for path in servers} & set(COMPANIONS)


def test_a_reader_runs_edits_goes_away_comes_back_and_resets(visit: Opener) -> None:
    seen = visit("patterns/work-queue/?broker=minibroker")
    bench = Bench(seen.page, QUEUE)
    expect(bench.button("Run")).to_be_visible()
    assert not [url for url in seen.requests if "/assets/python/" in url or "/run/" in url]

    bench.button("Run").click()
    bench.says("It printed what the handbook recorded.")
    assert bench.output.inner_text() == output(QUEUE)
    onwards = bench.status.get_by_role("link", name="take a line away")
    expect(onwards).to_have_attribute("href", "#take-a-line-away")
    fetched = [url for url in seen.requests if "/assets/python/" in url]
    assert fetched

    changed = code(QUEUE).replace('"owl"', '"emu"')
    bench.write(changed)
    bench.editor.press("Control+Enter")
    bench.says("It printed something else than the handbook recorded.")
    assert "transcode emu.mp4: delivery 1" in bench.output.inner_text()
    expect(onwards).to_have_count(0)

    bench.editor.press("Escape")
    expect(bench.button("Run")).to_be_focused()
    bench.editor.focus()
    bench.editor.press("Tab")
    expect(bench.editor).not_to_be_focused()

    seen.page.get_by_role("link", name="Terms and definitions", exact=True).first.click()
    seen.page.wait_for_url("**/terms/")
    seen.page.go_back()
    bench.says("This is the code as you left it.")
    assert bench.editor.input_value() == changed
    bench.button("Run").click()
    bench.says("It printed something else than the handbook recorded.")
    assert fetched == [url for url in seen.requests if "/assets/python/" in url]

    bench.button("Reset").click()
    expect(bench.editor).to_be_hidden()
    bench.button("Run").click()
    bench.says("It printed what the handbook recorded.")
    assert seen.complaints == []


def test_what_never_ends_is_stopped_and_python_starts_again(visit: Opener) -> None:
    bench = Bench(visit("patterns/work-queue/?broker=minibroker").page, QUEUE)
    bench.write(LOOP)
    bench.button("Run").click()
    bench.says("Running")
    bench.button("Stop").click()
    bench.says("Stopped.")
    bench.button("Run").click()
    bench.says("Running")
    bench.button("Reset").click()
    expect(bench.button("Run")).to_be_visible()
    bench.says("The code is the handbook's again.")
    expect(bench.output).to_be_hidden()
    bench.write(FLOOD)
    bench.button("Run").click()
    bench.says("Stopped: it printed more than 20000 characters.")
    assert len(bench.output.inner_text()) <= 20_000
    bench.write(FAULT)
    bench.button("Run").click()
    bench.says("with an error")
    lines = bench.output.inner_text().splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("  File")] == [
        '  File "on_minibroker.py"',
        '  File "minibroker.py"',
    ]
    assert lines[-1].startswith("minibroker.BrokerError:")


def test_code_in_a_link_is_shown_and_not_run(visit: Opener) -> None:
    bench = Bench(visit("patterns/work-queue/?broker=minibroker").page, QUEUE)
    bench.write("print('cat.mp4 <b>à la carte</b>')\n")
    bench.button("Copy link").click()
    bench.says("The link is copied.")
    link = bench.page.evaluate("navigator.clipboard.readText()")

    seen = visit(link)
    bench = Bench(seen.page, QUEUE)
    bench.says("This code came with the link. Read it before you run it.")
    expect(bench.editor).to_be_in_viewport()
    assert bench.editor.input_value() == "print('cat.mp4 <b>à la carte</b>')\n"
    assert not [url for url in seen.requests if "/assets/python/" in url]
    bench.button("Run").click()
    bench.says("It printed something else")
    assert bench.output.inner_text() == "cat.mp4 <b>à la carte</b>\n"


def test_code_that_is_too_long_for_a_link_is_called_so(visit: Opener) -> None:
    bench = Bench(visit("patterns/work-queue/?broker=minibroker").page, QUEUE)
    bench.write("# " + "".join(sha256(str(each).encode()).hexdigest() for each in range(700)))
    bench.page.evaluate("navigator.clipboard.writeText('before')")
    bench.button("Copy link").click()
    bench.says("This code is too long for a link.")
    assert bench.page.evaluate("navigator.clipboard.readText()") == "before"


def test_a_damaged_link_is_called_so(visit: Opener) -> None:
    bench = Bench(visit(f"patterns/work-queue/#run:{quote(QUEUE)}:gibberish").page, QUEUE)
    bench.says("The code in this link can't be read")
    expect(bench.editor).to_be_hidden()


def test_where_python_can_not_be_loaded_the_reader_is_told(visit: Opener) -> None:
    page = visit("patterns/work-queue/?broker=minibroker").page
    bench = Bench(page, QUEUE)
    page.route("**/pyodide.asm.wasm", lambda route: route.abort())
    bench.button("Run").click()
    bench.says("Python could not be loaded")
    page.unroute("**/pyodide.asm.wasm")
    bench.button("Run").click()
    bench.says("It printed what the handbook recorded.")
    page.evaluate("delete window.WebAssembly")
    bench.button("Run").click()
    bench.says("This browser does not run WebAssembly")


def test_what_runs_reaches_no_other_site(
    visit: Opener, built_site: Site, elsewhere: Guestbook
) -> None:
    bench = Bench(visit("patterns/work-queue/?broker=minibroker").page, QUEUE)
    other = f"http://127.0.0.1:{elsewhere.server_port}/"
    bench.write(REACH.replace("{other}", other).replace("{own}", f"{built_site.address}404.html"))
    bench.button("Run").click()
    bench.says("Ended after")
    assert bench.output.inner_text().splitlines() == REACHED
    assert elsewhere.came == []


def test_a_claim_is_broken_where_it_stands(visit: Opener) -> None:
    seen = visit("patterns/dead-letter-channel/?broker=minibroker")
    page = seen.page
    page.evaluate(PATIENT)
    assert not [url for url in seen.requests if "/assets/python/" in url or "/run/" in url]

    def broken(claim: str) -> Locator:
        return page.locator(f"#{claim}")

    claim = broken("a-malformed-message-is-a-dead-letter-at-once")
    claim.get_by_role("button", name="Break it").click()
    expect(claim.locator(".run").get_by_role("status")).to_have_text(
        "What differs is marked. The test sees: The malformed message is tried three times.",
        timeout=LOADED,
    )
    without = claim.get_by_role("region", name="Printed without it")
    assert claim.get_by_role("region", name="Printed with the line").locator("del").count()
    assert without.locator("ins").count()
    flow = claim.get_by_role("group", name="The flow of the run without the line")
    expect(flow.get_by_role("status")).to_contain_text("The program publishes")

    claim = broken("a-dead-letter-keeps-what-it-carries")
    claim.get_by_role("button", name="Break it").click()
    expect(claim.locator(".run").get_by_role("status")).to_contain_text(
        "This run prints the same: what it demonstrates does not depend on the line.",
        timeout=LOADED,
    )
    with_the_line = claim.get_by_role("region", name="Printed with the line")
    recorded = output("patterns/dead_letter_channel/on_minibroker.py").splitlines()
    assert [line[2:] for line in with_the_line.inner_text().splitlines()] == recorded
    assert not claim.locator(".broken-output :is(del, ins)").count()
    assert seen.complaints == []


def test_the_flow_of_a_run_is_stepped_through(visit: Opener) -> None:
    seen = visit("patterns/work-queue/?broker=minibroker")
    page, bench = seen.page, Bench(seen.page, IDEA)
    assert not [url for url in seen.requests if "flow" in url]
    bench.button("Run").click()
    bench.says("It printed what the handbook recorded.")
    flow = page.get_by_role("group", name=f"The flow of your run of {IDEA}")
    says, slider = flow.get_by_role("status"), flow.get_by_role("slider")
    forward, back = (flow.get_by_role("button", name=name) for name in ("Forward", "Back"))

    expect(says).to_have_text("The program publishes cat.mp4 with the routing key transcode.")
    forward.click()
    forward.press("ArrowRight")
    expect(says).to_have_text("transcode delivers cat.mp4 to A.")
    holds = flow.get_by_role("group", name="A holds")
    expect(holds.get_by_role("listitem")).to_have_text("cat.mp4")
    assert "with BROKER.consume(" in flow.locator(".flow-line").inner_text()
    number = 1 + code(IDEA).splitlines().index(
        '    with BROKER.consume("transcode", worker) as consumer:'
    )
    assert page.evaluate(MARKED, [IDEA, number]) < 3
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(says).to_have_text("B acknowledges cat.mp4: transcode forgets it.")
    expect(forward).to_be_disabled()
    expect(slider).to_be_focused()
    back.click()
    slider.press("ArrowLeft")
    expect(says).to_have_text("A is gone: cat.mp4, which it held, is in transcode again.")
    expect(holds).to_have_count(0)
    slider.press("Tab")
    expect(flow.locator(":focus")).to_have_count(0)

    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert violations(page) == []
    assert forward.evaluate(MOVES) == 0
    back.click()
    page.emulate_media(reduced_motion="no-preference", color_scheme="dark")
    assert forward.evaluate(MOVES) == 1
    slider.press("End")
    flow.get_by_role("combobox").select_option("fast")
    flow.get_by_role("button", name="Play").click()
    expect(says).to_have_text("B acknowledges cat.mp4: transcode forgets it.")
    assert violations(page, colours_only=True) == []

    bench.write(code(IDEA).replace('"cat.mp4"', '"emu.mp4"'))
    expect(flow).to_be_visible()
    bench.button("Run").click()
    bench.says("It printed something else")
    expect(says).to_contain_text("emu.mp4")
    bench.button("Reset").click()
    expect(flow).to_have_count(0)
    assert seen.complaints == []
