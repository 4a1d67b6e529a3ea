"""Labs as pages: light, their pictures legible and described, their notebooks whole."""

from __future__ import annotations

import gzip
import re

import jupytext
import nbformat
import pytest
from bs4 import BeautifulSoup

from tests.site.conftest import LABS, Read, Site

each = pytest.mark.parametrize("path", LABS)
PICTURE = re.compile(r'<figure class="plot".*?</figure>', re.S)


def html(site: Site, path: str) -> str:
    """Return a built page."""
    return (site.folder / path / "index.html").read_text(encoding="utf-8")


@each
def test_a_lab_weighs_at_most_twice_what_it_says(built_site: Site, path: str) -> None:
    """Its pictures weigh no more than the rest, as written and as sent, and it brings no styles."""
    page = html(built_site, path)
    text = PICTURE.sub("", page)
    assert len(page) <= 2 * len(text)
    assert len(gzip.compress(page.encode())) <= 2 * len(gzip.compress(text.encode()))
    content = BeautifulSoup(page, "html.parser").select_one("article")
    assert content
    for diagram in content.select(".diagram"):
        diagram.decompose()
    assert not content.select("style, script, iframe, [style]")


@each
def test_pictures_are_described_and_follow_the_scheme(built_site: Site, path: str) -> None:
    """Each has a text of its own, and no colour and no identifier that another could have."""
    page = html(built_site, path)
    pictures = [BeautifulSoup(found, "html.parser") for found in PICTURE.findall(page)]
    assert pictures
    texts = [picture.select_one("svg[role=img]") for picture in pictures]
    labels = [str(svg["aria-label"]) for svg in texts if svg]
    assert len(set(labels)) == len(pictures)
    assert all(len(label) > 40 for label in labels), labels
    for picture in PICTURE.findall(page):
        assert not re.findall(r"#[0-9a-f]{3,6}\b", re.sub(r'aria-label="[^"]*"', "", picture))
        for identifier in re.findall(r'\bid="([^"]+)"', picture):
            assert page.count(f'id="{identifier}"') == 1


@each
def test_letters_of_pictures_can_be_read_on_a_phone(read: Read, path: str) -> None:
    """They are eleven pixels high, and none is cut off."""
    page = read(path)
    page.set_viewport_size({"width": 390, "height": 900})
    letters = page.eval_on_selector_all(
        ".plot text",
        """all => all.filter(text => !text.querySelector('tspan')).map(text => {
            const svg = text.closest('svg'), box = text.getBoundingClientRect();
            const size = parseFloat(getComputedStyle(text).fontSize);
            const all = svg.getBoundingClientRect();
            const out = Math.max(all.left - box.left, box.right - all.right);
            return [text.textContent, size * all.width / svg.viewBox.baseVal.width, out];
        })""",
    )
    page.set_viewport_size({"width": 1280, "height": 900})
    assert letters
    assert [text for text, size, _ in letters if size < 11] == []
    assert [text for text, _, out in letters if out > 8] == []


@each
def test_the_notebook_to_download_is_whole(built_site: Site, path: str) -> None:
    """It has each cell of the lab with what it gave, it is valid, and its links lead somewhere."""
    source = LABS[path]
    link = BeautifulSoup(html(built_site, path), "html.parser").select_one(".lab-facts a")
    assert link
    assert link["download"] == f"{source.stem}.ipynb"
    file = built_site.folder / path / str(link["href"])
    notebook = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in jupytext.read(source).cells if cell.cell_type != "raw"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code] == [
        cell.source for cell in cells if cell.cell_type == "code"
    ]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    pictures = [output for output in outputs if "image/svg+xml" in output.get("data", {})]
    assert len(pictures) == len(PICTURE.findall(html(built_site, path)))
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        assert address.startswith(("https://", built_site.address))
        if address.startswith(built_site.address):
            page = address.removeprefix(built_site.address).partition("#")[0]
            assert (built_site.folder / page / "index.html").is_file(), address


@each
def test_what_has_to_be_installed_is_named(read: Read, path: str) -> None:
    """All that the notebook imports comes with Python, with the command, or is beside it."""
    facts = read(path).locator(".lab-facts").inner_text()
    assert "pip install jupyterlab " in facts
    for name in re.findall(
        r"^(?:import|from) (matplotlib|numpy|simpy|minibroker)", LABS[path].read_text(), re.M
    ):
        assert name in facts
