"""A reader's path: the code as the built page shows it, alone in an empty folder, by `uv run`.

What it prints is its output file, byte for byte. With `--update`, that file is written anew.
On a second generation of servers (`--servers`) it is the file, which the page was compared with.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from bs4.filter import SoupStrainer
from uv import find_uv_bin

from tests.site.conftest import Site
from tests.snippets.running import (
    all_snippets,
    broker_key,
    download,
    keep,
    name,
    run,
    whole_code,
)


def shown(snippet: Path, site: Path) -> str:
    """Return the snippet's code from the one built page that shows it."""
    block = f'data-snippet="{name(snippet)}"'
    [page] = (text for page in site.rglob("*.html") if block in (text := page.read_text()))
    only = SoupStrainer(attrs={"data-snippet": name(snippet)})
    found = BeautifulSoup(page, "html.parser", parse_only=only)
    return "".join(each.get_text() for each in found.select("code"))


@pytest.fixture
def copied(request: pytest.FixtureRequest, snippet: Path, tmp_path: Path) -> Path:
    """The snippet in a reader's folder, as its page shows it; with `--update`, as it is."""
    copy = download(snippet, tmp_path)
    if not (request.config.getoption("--update") or request.config.getoption("--servers")):
        site: Site = request.getfixturevalue("built_site")
        copy.write_text(shown(snippet, site.folder))
    return copy


@pytest.fixture
def address(request: pytest.FixtureRequest, snippet: Path) -> dict[str, str]:
    """Where the snippet finds its broker and its database, which are running and empty."""
    if not broker_key(snippet):
        return {}
    found: dict[str, str] = request.getfixturevalue("addresses")(whole_code(snippet))
    return found


@pytest.mark.parametrize(
    "snippet",
    [
        pytest.param(path, id=name(path), marks=pytest.mark.broker(key) if key else ())
        for path in all_snippets()
        for key in [broker_key(path)]
    ],
)
def test_copied_from_the_page_it_prints_what_the_page_shows(
    request: pytest.FixtureRequest, snippet: Path, copied: Path, address: dict[str, str]
) -> None:
    printed = run([find_uv_bin(), "run", copied.name], copied.parent, address)
    recorded = snippet.with_suffix(".out")
    if request.config.getoption("--update"):
        keep(recorded, printed)
    assert recorded.exists(), f"{name(recorded)} is missing: run `make record`"
    assert printed == recorded.read_text()
