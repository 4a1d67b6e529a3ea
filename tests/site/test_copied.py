"""A reader's path: the code as the built page shows it, alone in an empty folder, by `uv run`."""

from __future__ import annotations

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from uv import find_uv_bin

from tests.site.conftest import Site
from tests.snippets.running import MINIBROKER, all_snippets, broker_key, name, run


def shown_on_pages(site: Site) -> dict[str, str]:
    """Return the code of every snippet that the built pages show, by the snippet's name."""
    shown = {}
    for page in site.folder.rglob("*.html"):
        for block in BeautifulSoup(page.read_text(), "html.parser").select("[data-snippet]"):
            code = block.select_one("code")
            assert code
            shown[str(block["data-snippet"])] = code.get_text()
    return shown


@pytest.fixture(scope="module")
def shown(built_site: Site) -> dict[str, str]:
    return shown_on_pages(built_site)


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
    snippet: Path,
    shown: dict[str, str],
    address: dict[str, str],
    built_site: Site,
    tmp_path: Path,
) -> None:
    copied = tmp_path / snippet.name
    copied.write_text(shown[name(snippet)])
    if "from minibroker import" in copied.read_text():
        published = built_site.folder / "snippets" / MINIBROKER.name
        (tmp_path / MINIBROKER.name).write_bytes(published.read_bytes())
    printed = run([find_uv_bin(), "run", copied.name], tmp_path, address)
    assert printed == snippet.with_suffix(".out").read_text()
