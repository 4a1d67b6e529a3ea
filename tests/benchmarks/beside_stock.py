"""What pages cost beside stock Material and the floor, after `make site`.

`python -m tests.benchmarks.beside_stock site` measures it, and `make benchmark` too. The same text
is there three times: as the site has it, in Material as it comes, and as a page written by hand,
with no style but a few lines and no script. A slow phone's processor and network are imitated.
Bytes, requests and elements are exact and taken once; of times, which are the medians of rounds in
which the three take turns, only the ratios say something. The blocked time is that of the
processor, so that what else the machine does weighs little. It records nothing, and says which
aims are missed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import markdown
from playwright.sync_api import Browser, Page, sync_playwright

from tests.benchmarks.serving import ONLY_HERE, Handler, served
from tests.site import chromium

ROUNDS = 5
PAGES = ("patterns/work-queue/", "types/kafka/", "best-practices/service/")
OURS, STOCK, FLOOR = "ours", "stock Material", "the floor"
#: Of stock Material's, at most.
AIMS = {"kB": 0.3, "blocked ms": 0.25, "largest paint ms": 0.8}
#: So many times slower than this machine's is a phone's processor.
CPU = 4
#: A task of the page that takes longer keeps a reader waiting: milliseconds.
LONG = 50
#: Milliseconds without a request, after which a page has all that it wants.
QUIET = 8000
#: Milliseconds after the page has loaded, in which its scripts do the rest.
REST = 2000
#: What Chromium's tools call Slow 4G: bytes and milliseconds.
NETWORK = {
    "offline": False,
    "latency": 562.5,
    "downloadThroughput": 180e3,
    "uploadThroughput": 84e3,
}
LARGEST = """new Promise(done => new PerformanceObserver(
    list => done(list.getEntries().at(-1).startTime)
  ).observe({type: "largest-contentful-paint", buffered: true}))"""
MATERIAL = """
site_name: The same pages
theme: {name: material}
plugins: [search]
markdown_extensions: [attr_list, tables, pymdownx.highlight, pymdownx.superfences]
"""
STYLE = (
    "body{font:16px/1.6 system-ui;max-width:44rem;margin:auto;padding:1rem}"
    "pre{overflow:auto;background:#8881}"
    "table{border-collapse:collapse}td,th{border:1px solid #8886}"
)


@contextmanager
def opened(browser: Browser) -> Iterator[Page]:
    """Open a phone's window in a browser that has nothing yet."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    yield context.new_page()
    context.close()


def weigh(browser: Browser, address: str) -> dict[str, float]:
    """Return what is fetched for a page, with what its scripts and workers fetch later."""
    with opened(browser) as page:
        Handler.sent.clear()
        page.goto(address, wait_until="load", timeout=120_000)
        count = -1
        while count != len(Handler.sent):
            count = len(Handler.sent)
            page.wait_for_timeout(QUIET)
        elements = page.evaluate("document.querySelectorAll('*').length")
    return {"kB": sum(Handler.sent) / 1000, "requests": count, "elements": elements}


def largest_paint(browser: Browser, address: str) -> float:
    """Return the milliseconds until the largest part of the first screen is painted."""
    with opened(browser) as page:
        tools = page.context.new_cdp_session(page)
        tools.send("Network.enable")
        tools.send("Network.emulateNetworkConditions", NETWORK)
        tools.send("Emulation.setCPUThrottlingRate", {"rate": CPU})
        page.goto(address, wait_until="load", timeout=120_000)
        return float(page.evaluate(LARGEST))


def blocked(browser: Browser, address: str) -> float:
    """Return the milliseconds for which a reader would wait, as the page's long tasks go on."""
    with opened(browser) as page:
        browser.start_tracing(page=page, categories=["devtools.timeline", "toplevel"])
        page.goto(address, wait_until="load", timeout=120_000)
        page.wait_for_timeout(REST)
        events = json.loads(browser.stop_tracing())["traceEvents"]
    its = next(
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "ParseHTML" and address in json.dumps(each["args"])
    )
    tasks = (
        CPU * each["tdur"] / 1000
        for each in events
        if each["name"].endswith("RunTask") and (each["pid"], each["tid"]) == its
        if "tdur" in each
    )
    waits: list[float] = [max(0.0, task - LONG) for task in tasks]
    return sum(waits)


def build_others(site: Path, folder: Path) -> None:
    """Build the site's text, which its Markdown twins have, in Material and by hand."""
    docs = folder / "docs"
    for twin in site.rglob("index.md"):
        text = twin.read_text(encoding="utf-8")
        copy = docs / twin.relative_to(site)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
        html = markdown.markdown(text, extensions=["fenced_code", "tables", "codehilite"])
        by_hand = folder / FLOOR / twin.relative_to(site).with_suffix(".html")
        by_hand.parent.mkdir(parents=True, exist_ok=True)
        by_hand.write_text(
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            f"<title>{escape(twin.parent.name)}</title>"
            '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
            f"<style>{STYLE}</style><main>{html}</main></html>",
            encoding="utf-8",
        )
    (folder / "mkdocs.yml").write_text(MATERIAL)
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-d", str(folder / STOCK)]
    subprocess.run(command, cwd=folder, check=True)


def main(site: Path) -> None:
    """Measure, and print it."""
    with TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        build_others(site, folder)
        browser = playwright.chromium.launch(
            executable_path=chromium.executable(folder), args=[*chromium.FLAGS, ONLY_HERE]
        )
        with served(site, folder / STOCK, folder / FLOOR) as addresses:
            places = dict(zip((OURS, STOCK, FLOOR), addresses, strict=True))
            for page in PAGES:
                figures = {which: weigh(browser, at + page) for which, at in places.items()}
                for what, measure in {
                    "blocked ms": blocked,
                    "largest paint ms": largest_paint,
                }.items():
                    rounds = [
                        {which: measure(browser, at + page) for which, at in places.items()}
                        for _ in range(ROUNDS)
                    ]
                    for which, its in figures.items():
                        its[what] = statistics.median(one[which] for one in rounds)
                show(page, figures)
        browser.close()


def show(page: str, figures: dict[str, dict[str, float]]) -> None:
    """Print what was measured of a page, and our share of stock Material's."""
    print(f"\n/{page}")
    print(f"{'':18}" + "".join(f"{which:>16}" for which in figures) + f"{'share':>8}   aim")
    for name, ours in figures[OURS].items():
        stock = figures[STOCK][name]
        share = ours / stock if stock else 0.0
        aim = AIMS.get(name)
        said = "" if aim is None else f"{aim:5.2f} {'reached' if share <= aim else 'MISSED'}"
        row = "".join(f"{its[name]:16.1f}" for its in figures.values())
        print(f"{name:18}{row}{share:8.2f} {said}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
