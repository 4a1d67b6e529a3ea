"""The handbook without a network: once its reader asks, and then all of it, reload included."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer

from playwright.sync_api import Browser, expect

from tests.site.conftest import Quiet, Site

#: Hundreds of files are fetched.
PATIENCE = 120_000


@contextmanager
def served(site: Site) -> Iterator[str]:
    """Serve the site until the test has seen enough of the server."""
    handler = partial(Quiet, directory=str(site.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_it_is_read_with_the_server_gone_once_the_reader_has_asked(
    browser: Browser, built_site: Site
) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    keep = page.locator(".keep")
    with served(built_site) as address:
        page.goto(f"{address}why/")
        keep.get_by_role("button", name="Keep this handbook").click()
        expect(keep).to_contain_text("MB here")
        assert page.evaluate("caches.keys()") == []  # nothing is kept yet
        keep.get_by_role("button", name="Keep it").click()
        expect(keep).to_contain_text("is kept on this device", timeout=PATIENCE)
    # A page that nobody has visited, and the one at hand once more.
    page.goto(f"{address}patterns/work-queue/?broker=kafka")
    page.reload()
    expect(page.locator("h1")).to_contain_text("Work queue")
    expect(page.locator(".md-header")).to_be_visible()
    assert page.evaluate("document.styleSheets[0].cssRules.length") > 100
    page.keyboard.press("/")
    page.keyboard.type("outbox")
    expect(page.locator("#search-results li").first).to_contain_text("Transactional outbox")
    page.keyboard.press("Escape")
    page.goto(f"{address}no/such/page/")
    expect(page.locator("h1")).to_contain_text("no page at this address")
    page.goto(f"{address}why/")
    keep.get_by_role("button", name="Remove it").click()
    expect(keep).to_contain_text("removed from this device")
    assert page.evaluate("caches.keys()") == []
    context.close()
