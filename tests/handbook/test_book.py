"""The handbook as EPUB and PDF, of a small site: complete, well-formed, linked inside."""

from __future__ import annotations

import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from handbook.book import epub, pdf
from handbook.book.chapters import BookError, chapters
from tests.site import chromium

SITE = "https://site.invalid/"
TODAY = datetime(2026, 11, 30, tzinfo=UTC)
LISTED = f"""# Small

## Chapters

- [Home]({SITE}index.md): The first page.

## Types

- [Models]({SITE}types/models/index.md): The second page.

## Data

- [terms.json]({SITE}data/terms.json): Not a page.
"""
HOME = """<article><a class="md-content__button" href="x">Edit</a><h1>Home</h1>
<p>See <a href="types/models/#queue">queues</a> &amp; <a href="data/terms.json">data</a>.<br>
<div class="tabbed-set"><input checked><div class="tabbed-labels"><label>Kafka</label></div>
<div class="tabbed-content"><div class="tabbed-block"><p>It is a log.</p></div></div></div>
<details><summary>More</summary><svg viewBox="0 0 1 1"><path d="M0 0"></path></svg></details>
</article>"""
MODELS = '<article><h1>Models</h1><h2 id="queue">Queue<a class="headerlink">¶</a></h2></article>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "types/models").mkdir(parents=True)
    (tmp_path / "assets/css").mkdir(parents=True)
    (tmp_path / "llms.txt").write_text(LISTED)
    (tmp_path / "index.html").write_text(f"<body>{HOME}</body>")
    (tmp_path / "types/models/index.html").write_text(f"<body>{MODELS}</body>")
    (tmp_path / "assets/css/handbook.1.css").write_text("")
    return tmp_path


def test_the_epub_has_each_page_as_xhtml_and_links_inside(site: Path) -> None:
    file = site / "book.epub"
    address, book = chapters(site)
    epub.write(file, "Small & whole", address, book, TODAY)
    with zipfile.ZipFile(file) as pack:
        assert pack.infolist()[0].filename == "mimetype"
        assert pack.infolist()[0].compress_type == zipfile.ZIP_STORED
        texts = {
            name: pack.read(name).decode()
            for name in pack.namelist()
            if not name.endswith((".css", "mimetype"))
        }
    for text in texts.values():
        ElementTree.fromstring(text)
    assert sorted(texts) == [
        "META-INF/container.xml",
        "book/book.opf",
        "book/index.xhtml",
        "book/nav.xhtml",
        "book/types-models.xhtml",
    ]
    home = texts["book/index.xhtml"]
    assert 'href="types-models.xhtml#queue"' in home
    assert f'href="{SITE}data/terms.json"' in home
    assert re.search(r"<strong>Kafka</strong></p>\s*<p>It is a log\.", home)
    assert 'viewBox="0 0 1 1"' in home
    assert "Edit" not in home
    assert "¶" not in texts["book/types-models.xhtml"]
    assert "<span>Types</span>" in texts["book/nav.xhtml"]


def test_the_pdf_has_each_page_on_a_sheet_of_its_own(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROMIUM", chromium.executable(tmp_path_factory.mktemp("chromium")))
    file = site / "book.pdf"
    address, book = chapters(site)
    pdf.write(file, "Small & whole", address, book, TODAY)
    # The list of contents, and two pages.
    assert len(re.findall(rb"/Type\s*/Page\b", file.read_bytes())) == 3
    assert not (site / "book.html").exists()


def test_without_a_site_or_chromium_it_says_what_to_do(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BookError, match="make book"):
        chapters(tmp_path / "nothing")
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(chromium, "executable", _missing)
    with pytest.raises(BookError, match="needs Chromium: install"):
        pdf.chromium(site)


def _missing(_: Path) -> str:
    raise FileNotFoundError
