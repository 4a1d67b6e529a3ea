"""What readers find: an index of the built pages and of each term, which Pagefind makes.

A hook of MkDocs, because only MkDocs has whole pages. Nothing in the pages serves the search: what
is left out and what weighs less is said here. The browser fetches the index when a reader opens the
box.
"""

from __future__ import annotations

import gzip
import html
import json
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import BuildError
from mkdocs.structure.pages import Page

from handbook import errors, glossary
from handbook.glossary import Term

#: Pagefind's folder in the site.
FOLDER = "pagefind"
_LANGUAGE = "en"
#: Sources, links to files and what only a mouse needs are no answers to a question.
_IGNORED = (
    ".footnote",
    ".footnote-ref",
    ".headerlink",
    ".md-content__button",
    ".on-paper",
    ".on-this-page",
    ".snippet-facts",
    ".command",
    ".broker-switch",
    ".tabbed-labels",
    ".filename",
    "svg",
)
#: Code weighs less than prose, but for the texts of errors. Pagefind takes the square of it.
_CODE_WEIGHT = 0.3
_ARTICLE = re.compile(r"<article\b.*</article>", re.S)
_CODE = re.compile(r'<div class="(?=[^"]*\bhighlight\b)(?![^"]*\berror\b)')
_SECTION = re.compile(r'<h2 id="(?P<anchor>[^"]+)"[^>]*>(?P<title>.*?)</h2>', re.S)
_TAGS = re.compile(r'<a class="headerlink".*?</a>|<[^>]+>', re.S)
_WORD = re.compile(r"[^\W\d_][\w]{3,}")
_found: dict[str, Entry] = {}
_log = logging.getLogger(f"mkdocs.{__name__}")


@dataclass(frozen=True)
class Entry:
    """What can be found: a page, or a term of the glossary.

    `words` are names for it that its text does not have.
    """

    address: str
    title: str
    chapter: str
    content: str
    words: Sequence[str] = ()

    @property
    def document(self) -> str:
        """Return the page that Pagefind reads."""
        facts = {
            "address": self.address or "./",
            "title": self.title,
            "chapter": self.chapter,
            "words": ", ".join(self.words),
        }
        noted = "".join(
            f'<meta data-pagefind-meta="{name}[content]" content="{html.escape(said)}">'
            for name, said in facts.items()
            if said
        )
        weighed = _CODE.sub(f'<div data-pagefind-weight="{_CODE_WEIGHT}" class="', self.content)
        return f'<html lang="{_LANGUAGE}"><head>{noted}</head><body>{weighed}</body></html>'


def on_config(config: MkDocsConfig, **_: Any) -> None:
    """Leave the box out where there is no index to ask."""
    config.extra["search"] = _program() is not None
    if not config.extra["search"]:
        _log.info("The site is built without search: this machine has no program of Pagefind")


def on_pre_build(**_: Any) -> None:
    """Begin anew: a page may be gone."""
    _found.clear()


def on_post_page(output: str, page: Page, **_: Any) -> None:
    """Note what can be found on a page."""
    address = page.url.removeprefix("./")
    chapter = page.parent.title if page.parent else ""
    found = entry(address, str(page.title), chapter, output, page.meta.get("keywords", ""))
    if page.file.src_uri == glossary.SOURCE:
        # Each of its entries is found by itself.
        found = replace(found, content=found.content.partition("<h3")[0])
        found_terms = terms(glossary.terms(Path.cwd()), address)
        _found.update((each.address, each) for each in found_terms)
    if page.file.src_uri.startswith(f"{errors.CHAPTER}/"):
        # So is each error: a text that was pasted leads to its entry.
        sections = errors_of(found)
        found = replace(found, content=found.content.partition("<h2")[0])
        _found.update((each.address, each) for each in sections)
    _found[address] = found


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Write the index."""
    write([_found[address] for address in sorted(_found)], Path(config.site_dir))


def entry(address: str, title: str, chapter: str, output: str, words: str) -> Entry:
    """Return what can be found of a built page: its article."""
    article = _ARTICLE.search(output)
    names = [word.strip() for word in words.split(",") if word.strip()]
    return Entry(address, title, chapter, article[0] if article else "", names)


def terms(entries: Iterable[Term], address: str) -> Iterator[Entry]:
    """Yield each term of the glossary: its names, what it means, and what each broker calls it."""
    for term in entries:
        lines = [term.definition, *(f"{broker}: {name}" for broker, name in term.on_brokers)]
        text = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
        content = f"<h1>{html.escape(term.name)}</h1>{text}"
        yield Entry(f"{address}#{term.anchor}", term.name, "Terms", content, term.also)


def errors_of(found: Entry) -> list[Entry]:
    """Return each error of a page: its heading, its texts, and what the page says of it."""
    heads = [*_SECTION.finditer(found.content)]
    ends = [head.start() for head in heads[1:]] + [len(found.content)]
    chapter = "Errors" if found.title == found.chapter else f"Errors: {found.title}"
    errors_found = []
    for head, end in zip(heads, ends, strict=True):
        title = html.unescape(_TAGS.sub("", head["title"])).strip()
        content = f"<h1>{html.escape(title)}</h1>{found.content[head.end() : end]}"
        address = f"{found.address}#{head['anchor']}"
        errors_found.append(Entry(address, title, chapter, content))
    return errors_found


def write(entries: Sequence[Entry], site: Path) -> None:
    """Write the index into the folder of the site, unless this machine has no Pagefind."""
    program = _program()
    if program is None:
        return
    folder = site / FOLDER
    with TemporaryDirectory() as documents:
        for entry in entries:
            file = Path(documents, entry.address.replace("#", ""), "index.html")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(entry.document, encoding="utf-8")
        command = [str(program), "--site", documents, "--output-path", str(folder), "--silent"]
        command += ["--force-language", _LANGUAGE, "--include-characters", "_"]
        command += ["--exclude-selectors", ", ".join(_IGNORED)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BuildError(f"Pagefind could not index the site: {ran.stderr or ran.stdout}")
    for unused in (*folder.glob("pagefind-*ui*"), *folder.glob("*highlight*")):
        unused.unlink()
    (folder / "words.txt").write_text(" ".join(_words(folder / "fragment")), encoding="utf-8")


def _program() -> Path | None:
    """Return Pagefind's program. Its package has one for most machines, and none for some."""
    try:
        from pagefind_bin import get_executable

        return Path(get_executable())
    except (ImportError, FileNotFoundError):
        return None


def _words(fragments: Path) -> list[str]:
    """Return the words of all that is found, the most common first: a slip meant one of them."""
    seen: Counter[str] = Counter()
    for file in sorted(fragments.iterdir()):
        text = gzip.decompress(file.read_bytes()).decode()
        fragment = json.loads(text[text.index("{") :])
        said = " ".join((fragment["content"], *fragment["meta"].values())).lower()
        seen.update(set(_WORD.findall(said)))
    return sorted(seen, key=lambda word: (-seen[word], word))
