"""A reader's path: the code as the built page shows it, alone in an empty folder, by `uv run`.

What it prints is its output file, byte for byte. With `--update`, that file is written anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from bs4.filter import SoupStrainer
from uv import find_uv_bin

from tests.site.conftest import Site
from tests.snippets.running import all_snippets, broker_key, download, name, run


@pytest.fixture(scope="module")
def shown(built_site: Site) -> dict[str, str]:
    """Return the code of every snippet that the built pages show, by the snippet's name."""
    block = "data-snippet"
    only = SoupStrainer(attrs={block: True})
    return {
        str(found[block]): "".join(each.get_text() for each in found.select("code"))
        for page in built_site.folder.rglob("*.html")
        for found in BeautifulSoup(page.read_text(), "html.parser", parse_only=only).select(
            f"[{block}]"
        )
    }


@pytest.fixture
def address(request: pytest.FixtureRequest, snippet: Path) -> dict[str, str]:
    """Where the snippet finds its broker and its database, which are running and empty."""
    if not broker_key(snippet):
        return {}
    found: dict[str, str] = request.getfixturevalue("addresses")(snippet.read_text())
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
    request: pytest.FixtureRequest, snippet: Path, address: dict[str, str], tmp_path: Path
) -> None:
    copied = download(snippet, tmp_path)
    update = request.config.getoption("--update")
    if not update:
        copied.write_text(request.getfixturevalue("shown")[name(snippet)])
    printed = run([find_uv_bin(), "run", copied.name], tmp_path, address)
    recorded = snippet.with_suffix(".out")
    if update:
        recorded.write_text(printed)
    assert recorded.exists(), f"{name(recorded)} is missing: run `make record`"
    assert printed == recorded.read_text()
