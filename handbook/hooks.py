"""What only MkDocs can do: name the page, publish the snippets, mend the theme's HTML."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from handbook import accessibility, runner
from handbook import page as current_page
from handbook.brokers import BROKERS
from handbook.evidence import EvidenceError, claims, versions
from handbook.labs import engine as labs
from handbook.link_warnings import NameTheLine

_serving = False
_own_code: dict[Path, float] = {}


def on_startup(command: str, **_: Any) -> None:
    """Remember whether the site is served, and with which code."""
    global _serving
    _serving = command == "serve"
    _own_code.update(_times())


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Prepare the build: labs, the home page's numbers, and links whose warnings name a line."""
    if _serving and _times() != _own_code:
        # Python keeps imported modules: only a new process sees an edit in handbook/.
        # The folder that MkDocs made for this run would stay behind.
        shutil.rmtree(config.site_dir, ignore_errors=True)
        os.execv(sys.executable, sys.orig_argv)
    logger = logging.getLogger("mkdocs.structure.pages")
    if not any(isinstance(each, NameTheLine) for each in logger.filters):
        logger.addFilter(NameTheLine(Path(config.docs_dir)))
    labs.prepare(config)
    config.extra["brokers"] = _brokers(Path(config.docs_dir).parent)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Publish snippets, outputs and the file that starts brokers: they lie outside docs/."""
    root = Path(config.docs_dir).parent
    compose = str(root / "compose.yaml")
    files.append(File.generated(config, "compose.yaml", abs_src_path=compose))
    for file in sorted((root / "snippets").rglob("*")):
        if file.suffix in {".py", ".out"}:
            name = file.relative_to(root).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(file)))
    labs.publish(files, config)
    config.extra["runner"] = runner.publish(files, config)
    return files


@event_priority(100)
def on_pre_page(page: Page, config: MkDocsConfig, **_: Any) -> None:
    """Come before mkdocs-jupyter, which looks into its cache now."""
    labs.choose_cache(page, config)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Tell the Markdown extensions which page comes next: Python-Markdown gives them its text.

    A lab's text is made here, of the notebook that mkdocs-jupyter ran.
    """
    if labs.is_lab(page.file):
        text = labs.page_text(page, config, files)
        current_page.begin_made(page.file.src_uri, tuple(text.origins), frozenset(text.made))
        return "\n".join(text.lines)
    source = page.file.content_string
    current_page.begin(page.file.src_uri, source, markdown)
    return markdown


def on_post_page(output: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Mend the theme's HTML on a page, and mark the snippets that run in it."""
    python: runner.Runner | None = config.extra["runner"]
    return accessibility.mend(python.mark(output, page.url) if python else output)


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """Mend the theme's HTML on the page for addresses that do not exist."""
    return accessibility.mend(output_content) if template_name.endswith(".html") else output_content


def _times() -> dict[Path, float]:
    return {file: file.stat().st_mtime for file in Path(__file__).parent.rglob("*.py")}


def _brokers(root: Path) -> dict[str, Any]:
    """Return what the home page says of the recorded runs, as far as there are any."""
    try:
        recorded, proven = versions(root), claims(root)
    except EvidenceError:
        return {}
    servers = [
        recorded[broker.key]["server"]
        for broker in BROKERS
        if broker.key in recorded and broker.variable
    ]
    runs = sum(len(claim.verdicts) for entries in proven.values() for claim in entries)
    return {
        "servers": servers,
        "patterns": len(proven),
        "claims": sum(map(len, proven.values())),
        "proofs": runs,
    }
