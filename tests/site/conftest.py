"""One strict build for all tests of the site, served on a free port, and one browser."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.site import chromium

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: The address of each page, from the files that MkDocs makes them of.
PAGES = sorted(
    file.relative_to(DOCS).with_suffix("").as_posix().removesuffix("index").rstrip("/") + "/"
    for file in DOCS.rglob("*.md")
)
PAGES = ["" if page == "/" else page for page in PAGES]
#: Labs are pages too, made of Python.
LABS = {f"labs/{file.stem.replace('_', '-')}/": file for file in sorted(DOCS.glob("labs/*.py"))}
PAGES += LABS
expect.set_options(timeout=20_000)
REPOSITORY = "https://repository.invalid/handbook"


@dataclass(frozen=True)
class Site:
    """The built site: its folder and where it is served."""

    folder: Path
    address: str


class Quiet(SimpleHTTPRequestHandler):
    """Serve files and say nothing."""

    def log_message(self, *_: object) -> None:
        """Keep the test's output readable."""


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Build the site as it is published, and serve it."""
    folder = tmp_path_factory.mktemp("site")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        build = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
            cwd=ROOT,
            env=os.environ | {"SITE_URL": address, "REPO_URL": REPOSITORY},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if build.returncode:
            pytest.fail(f"the strict build failed:\n{build.stdout}", pytrace=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Site(folder, address)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Drive browsers. Ends with this folder's tests: while it lives, `asyncio.run` can't."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start one Chromium for the session."""
    path = chromium.executable(tmp_path_factory.mktemp("chromium"))
    running = playwright.chromium.launch(executable_path=path, args=list(chromium.FLAGS))
    yield running
    running.close()


@dataclass
class Visit:
    """A page that is open, and what the browser did for it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


Opener = Callable[..., Visit]
Read = Callable[[str], Page]


@pytest.fixture(scope="package")
def visit(browser: Browser, built_site: Site) -> Iterator[Opener]:
    """Return a function that opens a page of the site in a browser that has seen nothing yet."""
    contexts: list[BrowserContext] = []

    def open_page(path: str, scheme: str = "light") -> Visit:
        context = browser.new_context(
            base_url=built_site.address,
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": 1280, "height": 900},
            permissions=["clipboard-read", "clipboard-write"],
            reduced_motion="reduce",
        )
        contexts.append(context)
        seen = Visit(context.new_page())
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on(
            "console",
            lambda message: (
                seen.complaints.append(f"{message.type}: {message.text}")
                if message.type in {"error", "warning"}
                else None
            ),
        )
        seen.page.goto(path, wait_until="load")
        # The theme has set to work when it has named its state on the body.
        seen.page.wait_for_function("document.fonts.status === 'loaded' && window.document$")
        return seen

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="package")
def read(visit: Opener) -> Read:
    """Return a function that gives a page which is opened once, for tests that leave it alone."""
    return cache(lambda path: visit(path).page)
