"""What a reader downloads for a first page: exact bytes, as brotli packs them, by chapter."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import brotli
import pytest

from tests.site.conftest import PAGES, Opener, Site

#: kB at first load, with all that the page needs. The theme's script is 31 of them.
BUDGETS = {
    "": 82,
    "atlas/": 100,
    "best-practices/": 100,
    "errors/": 100,
    "labs/": 100,
    "patterns/": 100,
    "terms/": 97,
    "types/": 100,
    "use-cases/": 100,
}
#: Of a chapter, so many of the longest pages are weighed.
LONGEST = 3
PATTERN = "patterns/work-queue/"
REQUESTS = 12
ELEMENTS = 5000
#: A browser without a window does without it.
ICON = "assets/mark.svg"
_FETCHED = re.compile(
    r'<(?:script\b[^>]*\bsrc|link\b[^>]*\brel="(?:stylesheet|icon|preload)"[^>]*\bhref)="([^"]+)"'
)


@cache
def packed(file: Path) -> int:
    """Return the size of a file on its way to the reader. A font is packed already."""
    content = file.read_bytes()
    return len(content) if file.suffix == ".woff2" else len(brotli.compress(content))


def parts(site: Site, path: str) -> dict[str, int]:
    """Return what a page is made of at first load, and its size, the heaviest first."""
    root = site.folder.resolve()
    page = root / path / "index.html"
    files = {page, *((page.parent / each).resolve() for each in _FETCHED.findall(page.read_text()))}
    files.add(root / "sitemap.xml")  # the theme asks it which links it can follow by itself
    sizes = {file.relative_to(root).as_posix(): packed(file) for file in files}
    return dict(sorted(sizes.items(), key=lambda each: -each[1]))


@pytest.mark.parametrize("chapter", BUDGETS, ids=lambda chapter: chapter or "home")
def test_a_page_keeps_to_its_budget(built_site: Site, chapter: str) -> None:
    """What grew stands at the top of what the test says."""
    of_chapter = [path for path in PAGES if path.startswith(chapter)] if chapter else [""]
    of_chapter.sort(key=lambda path: -(built_site.folder / path / "index.html").stat().st_size)
    for path in of_chapter[:LONGEST]:
        weighed = parts(built_site, path)
        total = sum(weighed.values())
        said = "\n".join(f"{size:>7} {name}" for name, size in weighed.items())
        print(f"{total:>7} bytes, {len(weighed)} files: /{path}")
        assert total <= BUDGETS[chapter] * 1000, f"/{path} weighs {total} bytes:\n{said}"


def test_a_pattern_is_fetched_with_few_requests_and_few_elements(
    visit: Opener, built_site: Site
) -> None:
    """The browser fetches at first load what is weighed above, and nothing else."""
    seen = visit(PATTERN)
    fetched = {urlsplit(url).path.removeprefix("/") for url in seen.requests}
    weighed = {name.removesuffix("index.html") for name in parts(built_site, PATTERN)}
    assert fetched | {ICON} == weighed
    assert len(seen.requests) <= REQUESTS
    assert seen.page.evaluate("document.querySelectorAll('*').length") < ELEMENTS


@pytest.mark.parametrize("path", [PATTERN, "labs/playground/"])
def test_what_runs_in_a_page_weighs_little_before_the_first_click(
    visit: Opener, built_site: Site, path: str
) -> None:
    """The scripts of Run and of the playground; Python comes with the click."""
    fetched = [urlsplit(url).path.removeprefix("/") for url in visit(path).requests]
    scripts = [name for name in fetched if name.startswith("assets/javascript/run")]
    assert scripts
    assert sum(packed(built_site.folder / name) for name in scripts) <= 4000
    assert not [name for name in fetched if name.startswith("assets/python/")]
