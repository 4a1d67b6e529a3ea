"""One strict build for all tests of the site, served on a free port, and one browser."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import (
    BaseHTTPRequestHandler,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from pathlib import Path
from urllib.parse import urlsplit

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
    """The built site: its folder, and its address for the browser of the tests."""

    folder: Path
    address: str = "http://handbook.localhost/"

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc


class Quiet(SimpleHTTPRequestHandler):
    """Serve files and say nothing."""

    def log_message(self, *_: object) -> None:
        """Keep the test's output readable."""


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Build the site as it is published, once for all processes of a parallel run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    site = Site(shared / "site")
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not site.folder.exists():
            unfinished = shared / "site-unfinished"
            build = subprocess.run(
                [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", unfinished],
                cwd=ROOT,
                env=os.environ | {"SITE_URL": site.address, "REPO_URL": REPOSITORY},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=900,
                check=False,
            )
            if build.returncode:
                pytest.fail(f"the strict build failed:\n{build.stdout}", pytrace=False)
            unfinished.rename(site.folder)
    return site


@pytest.fixture(scope="session")
def port(built_site: Site) -> Iterator[int]:
    """Serve the built site on a free port of this machine."""
    handler = partial(Quiet, directory=str(built_site.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Drive browsers. Ends with this folder's tests: while it lives, `asyncio.run` can't."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(
    playwright: Playwright,
    built_site: Site,
    port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Browser]:
    """Start one Chromium for the session, and tell it where the site is."""
    path = chromium.executable(tmp_path_factory.mktemp("chromium"))
    found_at = f"--host-resolver-rules=MAP {built_site.host}:80 127.0.0.1:{port}"
    running = playwright.chromium.launch(executable_path=path, args=[*chromium.FLAGS, found_at])
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

    def open_page(path: str) -> Visit:
        context = browser.new_context(
            base_url=built_site.address,
            color_scheme="light",
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
    """Return a function that gives a page, opened once for tests in a row that leave it alone."""
    opened: dict[str, Page] = {}

    def read_page(path: str) -> Page:
        if path not in opened:
            for other in opened.values():
                other.context.close()
            opened.clear()
            opened[path] = visit(path).page
        return opened[path]

    return read_page


class Elsewhere(BaseHTTPRequestHandler):
    """Another site, which lets everybody in and notes who came."""

    def do_GET(self) -> None:  # the name that the server looks for
        """Answer."""
        assert isinstance(self.server, Guestbook)
        self.server.came.append(self.path)
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()


class Guestbook(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Elsewhere)
        self.came: list[str] = []


@pytest.fixture
def elsewhere() -> Iterator[Guestbook]:
    with Guestbook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
