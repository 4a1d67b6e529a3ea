"""What pages cost beside stock Material and the floor, after `make site`.

`python -m tests.benchmarks.beside_stock site` measures it, and `make benchmark` too. The same text
is there three times: as the site has it, in Material as it comes, and as a page written by hand,
with no style but a few lines and no script. A slow phone's processor and network are imitated.
Bytes, requests and elements are exact; of times, only the ratios say something. It records nothing,
and says which aims are missed.
"""

from __future__ import annotations

import mimetypes
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cache
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import brotli
import markdown
from playwright.sync_api import Browser, sync_playwright

from tests.site import chromium

ROUNDS = 3
PAGES = ("patterns/work-queue/", "types/kafka/", "best-practices/service/")
OURS, STOCK, FLOOR = "ours", "stock Material", "the floor"
#: Of stock Material's, at most.
AIMS = {"kB": 0.3, "blocked ms": 0.25, "largest paint ms": 0.8}
CPU = 4
#: Milliseconds without a request, after which a page has all that it wants.
QUIET = 8000
#: What Chromium's tools call Slow 4G: bytes and milliseconds.
NETWORK = {
    "offline": False,
    "latency": 562.5,
    "downloadThroughput": 180e3,
    "uploadThroughput": 84e3,
}
SEEN = """(() => {
  const seen = window.seen = {largest: 0, blocked: 0};
  const watch = (type, act) => new PerformanceObserver(
    list => list.getEntries().forEach(act)).observe({type, buffered: true});
  watch("largest-contentful-paint", entry => { seen.largest = entry.startTime; });
  watch("longtask", entry => { seen.blocked += Math.max(0, entry.duration - 50); });
})()"""
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


@cache
def packed(file: Path) -> bytes:
    return bytes(brotli.compress(file.read_bytes()))


class Handler(BaseHTTPRequestHandler):
    """Serve a folder as a good host does, and note what was sent."""

    folders: ClassVar[dict[str, Path]] = {}
    sent: ClassVar[list[int]] = []

    def do_GET(self) -> None:  # the name that the server looks for
        """Send a file, packed by brotli."""
        name = self.headers["Host"].partition(".")[0]
        file = self.folders[name] / self.path.partition("?")[0].lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        if not file.is_file():
            self.send_error(404)
            return
        body = packed(file)
        self.send_response(200)
        self.send_header("Content-Type", mimetypes.guess_type(file)[0] or "text/plain")
        self.send_header("Content-Encoding", "br")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.sent.append(len(body))

    def log_message(self, *_: object) -> None:
        """Keep the output readable."""


@dataclass(frozen=True)
class Load:
    """What one load of a page cost."""

    sizes: list[int]
    elements: int
    largest: float
    blocked: float

    def figures(self) -> dict[str, float]:
        """Return the numbers by their names."""
        return {
            "kB": sum(self.sizes) / 1000,
            "requests": len(self.sizes),
            "elements": self.elements,
            "blocked ms": self.blocked,
            "largest paint ms": self.largest,
        }


def load(browser: Browser, address: str) -> Load:
    """Open a page in a browser that has nothing yet."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    tools = context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.send("Network.emulateNetworkConditions", NETWORK)
    tools.send("Emulation.setCPUThrottlingRate", {"rate": CPU})
    page.add_init_script(SEEN)
    Handler.sent.clear()
    page.goto(address, wait_until="load", timeout=120_000)
    count = -1
    while count != len(Handler.sent):  # what scripts and workers fetch comes later
        count = len(Handler.sent)
        page.wait_for_timeout(QUIET)
    seen = page.evaluate("seen")
    elements = page.evaluate("document.querySelectorAll('*').length")
    context.close()
    return Load([*Handler.sent], elements, seen["largest"], seen["blocked"])


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
    with (
        TemporaryDirectory() as name,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
        sync_playwright() as playwright,
    ):
        folder = Path(name)
        build_others(site, folder)
        places = {OURS: site, STOCK: folder / STOCK, FLOOR: folder / FLOOR}
        hosts = {which: f"{number}x" for number, which in enumerate(places)}
        Handler.folders.update({hosts[which]: place for which, place in places.items()})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(
            executable_path=chromium.executable(folder),
            args=[*chromium.FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost"],
        )
        for page in PAGES:
            loads: dict[str, list[Load]] = {which: [] for which in places}
            for number in range(ROUNDS + 1):  # at first the server packs
                for which in places:
                    address = f"http://{hosts[which]}.localhost:{server.server_port}/{page}"
                    one = load(browser, address)
                    if number:
                        loads[which].append(one)
            show(page, loads)
        browser.close()
        server.shutdown()


def show(page: str, loads: dict[str, list[Load]]) -> None:
    """Print the medians of a page, and our share of stock Material's."""
    medians = {
        which: {
            name: statistics.median(one.figures()[name] for one in its) for name in its[0].figures()
        }
        for which, its in loads.items()
    }
    print(f"\n/{page}")
    print(f"{'':18}" + "".join(f"{which:>16}" for which in medians) + f"{'share':>8}   aim")
    for name in medians[OURS]:
        ours, stock = medians[OURS][name], medians[STOCK][name]
        share = ours / stock if stock else 0.0
        aim = AIMS.get(name)
        said = "" if aim is None else f"{aim:5.2f} {'reached' if share <= aim else 'MISSED'}"
        row = "".join(f"{its[name]:16.1f}" for its in medians.values())
        print(f"{name:18}{row}{share:8.2f} {said}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
