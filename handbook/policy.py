"""One content security policy for all pages, and the proof that each page keeps it.

A page runs the site's own files and the theme's four lines of script that come before its first
paint. These are allowed by their hashes, which come from the theme's templates and not from the
pages: what gets into a page by another way is refused by the browser, and here by the build.
Instant navigation keeps the first page's policy, so all pages have the same. A hook of MkDocs,
because only MkDocs has files, heads and whole pages; the text of a page is raw_html's.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files, InclusionLevel
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url
from selectolax.lexbor import LexborHTMLParser, LexborNode

from handbook.page import PageError
from handbook.raw_html import check_file, check_head

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.S)
_TEMPLATES = [f"partials/javascripts/{name}.html" for name in ("base", "palette", "content")]
#: Types of which a browser runs nothing.
_DATA = {"application/json", "application/ld+json"}
_EMBEDS = "iframe, frame, object, embed, applet, base, meta[http-equiv=refresh]"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Refuse files that a browser would open as pages of their own."""
    for file in files:
        if file.src_dir == config.docs_dir and file.inclusion != InclusionLevel.EXCLUDED:
            check_file(file.src_uri, Path(str(file.abs_src_path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Refuse what stands above a page's text, if the theme would print it as HTML, or obey it."""
    check_head(page.meta, page.file.content_string)
    return markdown


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> Environment:
    """Give the templates the policy."""
    config.extra["policy"] = policy(env, files, config)
    return env


@event_priority(-100)
def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Come last, and look at what is published."""
    check(output, f"docs/{page.file.src_uri}", config.extra["policy"])
    return output


@event_priority(-100)
def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """Look at the page for addresses that do not exist, too."""
    if template_name.endswith(".html"):
        check(output_content, template_name, config.extra["policy"])
    return output_content


def policy(env: Environment, files: Files, config: MkDocsConfig) -> str:
    """Return the policy for the pages of these files."""
    roots = {get_relative_url(".", file.url) for file in files if file.is_documentation_page()}
    roots.add(urlsplit(config.site_url or "/").path)  # the page for addresses that do not exist
    scripts = {
        script
        for name in _TEMPLATES
        for root in roots
        for script in _SCRIPT.findall(
            env.get_template(name).render(
                config=config, base_url=root, features=config.theme["features"]
            )
        )
    }
    return "; ".join(
        f"{what} {' '.join(allowed)}"
        for what, allowed in {
            "default-src": ["'none'"],
            # WebAssembly is the Python that runs in the page, and the search.
            "script-src": ["'self'", "'wasm-unsafe-eval'", *sorted(map(_hash, scripts))],
            # The theme and the drawings have styles inside a page. None can fetch anything.
            "style-src": ["'self'", "'unsafe-inline'"],
            "img-src": ["'self'", "data:"],
            "font-src": ["'self'"],
            "connect-src": ["'self'"],
            "worker-src": ["'self'", "blob:"],
            "manifest-src": ["'self'"],
            "form-action": ["'self'"],
            "base-uri": ["'none'"],
        }.items()
    )


@lru_cache(maxsize=256)
def check(html: str, name: str, allowed: str) -> None:
    """Refuse a page that the policy would break, or that would break out of it."""
    tree = LexborHTMLParser(html)
    for script in tree.css("script"):
        source, kind = script.attributes.get("src"), script.attributes.get("type")
        if source is None and kind not in _DATA and _hash(script.text()) not in allowed:
            _refuse(name, f"a script inside the page: {script.text()[:60]!r}")
        if source and (urlsplit(source).netloc or urlsplit(source).scheme):
            _refuse(name, f"a script from elsewhere: {source}")
    for element in tree.css(_EMBEDS):
        _refuse(name, f"<{element.tag}>")
    for element in _all(tree):
        for attribute, value in element.attributes.items():
            if attribute.startswith("on") or _runs(value or ""):
                _refuse(name, f"{attribute}={value!r}")


def _all(tree: LexborHTMLParser) -> Iterator[LexborNode]:
    yield from tree.root.traverse() if tree.root else ()


def _runs(value: str) -> bool:
    return re.sub(r"[\x00-\x20]", "", value).lower().startswith(("javascript:", "vbscript:"))


def _refuse(name: str, what: str) -> None:
    raise PageError(
        f"{name}: the page has {what}, which its content security policy forbids: put scripts into "
        "docs/assets/javascript/ and listen for events there"
    )


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
