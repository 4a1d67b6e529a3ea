"""What the feed of changes tells, and that it stays empty where Git knows too little."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from handbook.feed import ATOM, atom, changes

SITE = "https://site.invalid/"
NAMES = {"": ATOM}


def commit(root: Path, says: str, **pages: str) -> None:
    for name, text in pages.items():
        (root / "docs").mkdir(exist_ok=True)
        (root / "docs" / f"{name}.md").write_text(text)
    person = ["-c", "user.name=A", "-c", "user.email=a@b.invalid"]
    for command in (["add", "."], [*person, "commit", "--quiet", "--message", says]):
        subprocess.run(["git", "-C", str(root), *command], check=True)


def test_a_change_of_a_page_is_told_with_its_date_and_its_page(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    commit(tmp_path, "Begin", why="Why", data="no page")
    assert changes(tmp_path) == []
    commit(tmp_path, "Say <more>", why="Why & how")
    commit(tmp_path, "Record", data="more")
    pages: Any = {"why.md": SimpleNamespace(title="Why & how", canonical_url=f"{SITE}why/")}
    feed = ElementTree.fromstring(atom(changes(tmp_path), pages, "Handbook", SITE))
    told = feed.findall("entry", NAMES)
    assert [each.findtext("title", "", NAMES) for each in told] == ["Say <more>", "Begin"]
    assert [each.find("link", NAMES).get("href") for each in told] == [f"{SITE}why/"] * 2  # type: ignore[union-attr]
    assert 'href="https://site.invalid/why/">Why &amp; how<' in told[0].findtext(
        "content", "", NAMES
    )
    assert feed.findtext("updated", "", NAMES) == told[0].findtext("updated", "", NAMES)


def test_without_a_history_there_is_a_feed_that_tells_nothing(tmp_path: Path) -> None:
    feed = ElementTree.fromstring(atom(changes(tmp_path), {}, "Handbook", SITE))
    assert feed.findall("entry", NAMES) == []
    assert feed.findtext("updated", "", NAMES)
