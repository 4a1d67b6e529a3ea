"""What is made again after an edit while the site is served, and what is not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

HOOK = Path(__file__).parents[2] / "handbook" / "again.py"


class Served:
    """A small site that is served: which pages each build renders, and what it warns of."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.rendered: list[str] = []
        (root / "docs").mkdir()
        (root / "mkdocs.yml").write_text("site_name: Small\n")
        self.write("index", "# Home\n\n[further](other.md#there)\n")
        self.write("other", "# Other\n\n## There\n")
        self.write("terms", "# Terms\n")
        render = Page.render

        def counted(page: Page, *arguments: object) -> None:
            self.rendered.append(page.file.name)
            render(page, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Page, "render", counted)
        self.config().plugins.on_startup(command="serve", dirty=False)

    def config(self) -> MkDocsConfig:
        return load_config(
            str(self.root / "mkdocs.yml"), hooks=[str(HOOK)], validation={"anchors": "warn"}
        )

    def write(self, page: str, text: str) -> None:
        (self.root / "docs" / f"{page}.md").write_text(text)

    def build(self) -> list[str]:
        """Build, and return the pages that were rendered."""
        self.rendered.clear()
        build(self.config())
        return sorted(self.rendered)

    def page(self, name: str) -> str:
        return (self.root / "site" / name / "index.html").read_text()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    return Served(tmp_path, monkeypatch)


def test_only_the_page_that_was_edited_is_rendered(served: Served) -> None:
    assert served.build() == ["index", "other", "terms"]
    served.write("other", "# Other\n\n## There\n\nMore is said here.\n")
    assert served.build() == ["other"]
    assert "More is said here." in served.page("other")
    assert 'href="other/#there"' in served.page("")


def test_all_pages_are_rendered_when_what_they_share_has_changed(served: Served) -> None:
    served.build()
    served.write("terms", "# Terms\n\n### Queue\n")
    assert served.build() == ["index", "other", "terms"]
    served.write("other", "# Another title\n\n## There\n")
    assert served.build() == ["index", "other", "terms"]
    served.write("new", "# New\n")
    assert served.build() == ["index", "new", "other", "terms"]


def test_a_link_of_a_kept_page_is_checked_against_the_edited_one(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.build()
    served.write("other", "# Other\n")
    with caplog.at_level(logging.WARNING, "mkdocs"):
        assert served.build() == ["other"]
    assert "does not contain an anchor '#there'" in caplog.text
