"""What programs read of the built site: complete, true to the pages, in the form that it names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import jsonschema
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page, expect

from tests.site.conftest import DOCS, PAGES, ROOT, Site

PATTERN = "patterns/work-queue/"
DATA = ["claims", "errors", "survival", "terms", "versions"]


def twin(site: Site, path: str) -> str:
    return (site.folder / path / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path or "home")
def test_a_page_has_a_twin(built_site: Site, path: str) -> None:
    """It has all of the page's headings and code, and its links are whole."""
    soup = BeautifulSoup((built_site.folder / path / "index.html").read_bytes(), "html.parser")
    link = soup.select_one("link[rel=alternate][type='text/markdown']")
    assert link is not None
    assert link["href"] == "index.md" or str(link["href"]).endswith("/index.md")
    text = twin(built_site, path)
    assert text.startswith(f"Source: {built_site.address}{path}\n\n# ")
    assert "\0" not in text
    article = soup.select_one("article")
    assert article is not None
    for each in article.select(".headerlink, .filename"):
        each.decompose()
    plain = re.sub(r"[`*\[\]]|\([^)]*\)|\s", "", text)
    for heading in article.select("h2, h3"):
        if heading.find_parent(hidden=True):
            continue  # It waits for a reader's answer.
        assert re.sub(r"[`*\[\]]|\([^)]*\)|\s", "", heading.get_text()) in plain
    for code in article.select("pre > code"):
        assert code.get_text().rstrip("\n") in text
    for target in re.findall(
        r"\]\(([^)\s]+)", re.sub(r"(`{3,}).*?\n\1|`[^`]*`", "", text, flags=re.S)
    ):
        assert re.match(r"(https?|mailto):", target), target


def test_a_twin_has_its_snippets_and_claims(built_site: Site) -> None:
    """Those of all brokers, each under its name."""
    text = twin(built_site, PATTERN)
    for file in sorted((ROOT / "snippets/patterns/work_queue").glob("on_*.py")):
        assert file.read_text(encoding="utf-8").rstrip() in text
        assert file.with_suffix(".out").read_text(encoding="utf-8").rstrip() in text
    for name in ("RabbitMQ", "Kafka", "PostgreSQL"):
        assert f"\n**{name}**\n" in text
    claims = json.loads((DOCS / "data/claims.json").read_text(encoding="utf-8"))
    for claim in claims["patterns/work_queue"]:
        assert claim["claim"] in text


def test_the_lists_name_each_page_once(built_site: Site) -> None:
    index = (built_site.folder / "llms.txt").read_text(encoding="utf-8")
    full = (built_site.folder / "llms-full.txt").read_text(encoding="utf-8")
    assert index.startswith("# Message Brokers\n\n> ")
    twins = re.findall(r"^- \[.+?\]\((\S+index\.md)\): .+$", index, re.M)
    assert sorted(twins) == sorted(f"{built_site.address}{path}index.md" for path in PAGES)
    sources = re.findall(rf"^Source: ({re.escape(built_site.address)}\S*)$", full, re.M)
    assert sorted(sources) == sorted(built_site.address + path for path in PAGES)


@pytest.mark.parametrize("name", DATA)
def test_data_has_the_form_that_its_schema_says(built_site: Site, name: str) -> None:
    """As it is published."""
    folder = built_site.folder / "data"
    schema = json.loads((folder / "schema" / f"{name}.json").read_text(encoding="utf-8"))
    data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    checker = jsonschema.Draft202012Validator
    checker.check_schema(schema)
    checker(schema).validate(data)
    assert data


def test_a_page_says_what_it_is(built_site: Site) -> None:
    """To those who show a card of it, and to those who read its data."""
    html = (built_site.folder / PATTERN / "index.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(html, "html.parser")
    address = built_site.address + PATTERN
    card = {str(each["property"]): each["content"] for each in soup.select("meta[property^='og:']")}
    assert card["og:title"] == "Work queue"
    assert card["og:url"] == address
    canonical = soup.select_one("link[rel=canonical]")
    assert canonical is not None
    assert canonical["href"] == address
    data = soup.select_one("script[type='application/ld+json']")
    assert data is not None
    said = json.loads(data.get_text())
    assert (said["@type"], said["headline"], said["url"]) == ("TechArticle", "Work queue", address)
    assert said["description"] == card["og:description"]


@pytest.fixture
def page(browser: Browser, built_site: Site) -> Iterator[Page]:
    context = browser.new_context(
        base_url=built_site.address, permissions=["clipboard-read", "clipboard-write"]
    )
    yield context.new_page()
    context.close()


def test_a_page_is_copied_as_markdown(page: Page, built_site: Site) -> None:
    """One click, and the reader is told."""
    page.goto("why/")
    page.get_by_role("link", name="This page as Markdown").click()
    expect(page.get_by_role("status").filter(has_text="Copied as Markdown")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == twin(built_site, "why/")
    assert page.url == f"{built_site.address}why/"
