"""Lines such as `::: code patterns/work_queue`, which a page's author writes, become content.

A Python-Markdown extension and not a MkDocs hook, so that any builder on Python-Markdown runs it.
The code directives expand to Markdown (tabs and fences); tables and diagrams become HTML.
Links to files of the repository outside docs/ get the repository's address.
"""

from __future__ import annotations

import posixpath
import re
from functools import partial
from pathlib import Path
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

from handbook import page
from handbook.diagrams import DiagramError
from handbook.directives import (
    atlas,
    checked,
    choose,
    claims,
    code,
    diagram,
    error_texts,
    idea,
    matrix,
    rosetta,
    support,
    survival,
)
from handbook.directives.choose import ChooseError
from handbook.directives.project import Project
from handbook.evidence import EvidenceError, test_line
from handbook.glossary import GlossaryError
from handbook.snippet import SnippetError

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_DIRECTIVE = re.compile(r"^(?P<indent> *):::(?P<rest>.*)$")
_ALMOST = re.compile(r"^ *::? ?(?P<name>[a-z]+)\b")
_FOOTNOTE = re.compile(r"\[\^(?P<name>[^\]\s]+)\](?P<defined>:?)")
#: A link that leaves docs/: from a page, `../../tests/brokers/` is a folder of the repository.
#: Behind `#` stands the name of a test, as its line changes. A label is tried from its start only:
#: from each of its characters, the time would grow with the square of a line.
_OUTWARD = re.compile(
    r"(?<![^\[\]])(?P<label>[^\[\]]*)\]\((?P<path>(?:\.\./)+[^)#\s]*)(?:#(?P<test>\w+))?(?=\))"
)
#: What a directive writes as HTML is our own: it is put away before anybody looks for an author's.
_ELEMENT = re.compile(r"<([a-z]+)\b(?![^>]* markdown\b).*</\1>\Z(?<!</span>)")
_EXPANDERS = {
    "atlas": atlas.expand,
    "code": code.topic,
    "file": code.file,
    "idea": idea.expand,
    "claims": claims.experiments,
    "checked": checked.table,
    "choose": choose.form,
    "error": error_texts.text,
    "errors": error_texts.table,
    "matrix": matrix.table,
    "recording": diagram.recording,
    "rosetta": rosetta.table,
    "support": support.table,
    "survival": survival.expand,
}


class DirectiveExtension(Extension):
    """Register the directives; the two addresses come from mkdocs.yml."""

    def __init__(self, **kwargs: Any) -> None:
        self.config = {
            "site_url": ["", "where the site is published"],
            "repo_url": ["", "where the repository is published"],
        }
        super().__init__(**kwargs)

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Run before superfences (25), which then renders the fences written here."""
        project = Project(Path.cwd(), self.getConfig("site_url"), self.getConfig("repo_url"))
        md.preprocessors.register(DirectivePreprocessor(md, project), "handbook_directives", 28)
        page.begin_in_zensical(md)


class DirectivePreprocessor(Preprocessor):
    """Replace directives and Mermaid fences, and leave all other fences alone."""

    def __init__(self, md: Markdown, project: Project) -> None:
        super().__init__(md)
        self.project = project

    def run(self, lines: list[str]) -> list[str]:
        """Return the page's lines with every directive expanded."""
        result: list[str] = []
        notes: dict[bool, dict[str, int]] = {True: {}, False: {}}
        index = 0
        while index < len(lines):
            line = lines[index]
            if fence := _FENCE.match(line):
                end = _end_of_fence(lines, index, fence["fence"])
                if fence["info"].strip() == "mermaid":
                    source = "\n".join(
                        each.removeprefix(fence["indent"]) for each in lines[index + 1 : end]
                    )
                    result += self._expand(index, fence["indent"], diagram.drawing, source)
                else:
                    result += lines[index : end + 1]
                index = end + 1
                continue
            if directive := _DIRECTIVE.match(line):
                name, _, argument = directive["rest"].strip().partition(" ")
                if name not in _EXPANDERS:
                    raise page.current.error(
                        index,
                        f"there is no directive '::: {name}'; there are: " + ", ".join(_EXPANDERS),
                    )
                result += self._expand(
                    index, directive["indent"], _EXPANDERS[name], argument.strip()
                )
            else:
                almost = _ALMOST.match(line)
                if almost and almost["name"] in _EXPANDERS:
                    raise page.current.error(
                        index, f"a directive begins with three colons: write '::: {almost['name']}'"
                    )
                for note in _FOOTNOTE.finditer(re.sub(r"`[^`]*`", "", line)):
                    defines = bool(note["defined"]) and line.lstrip().startswith(note[0])
                    notes[defines].setdefault(note["name"], index)
                result.append(_OUTWARD.sub(partial(self._source, index), line))
            index += 1
        _match_footnotes(defined=notes[True], named=notes[False])
        return result

    def _source(self, index: int, link: re.Match[str]) -> str:
        """Return the web address of a file of the repository; other links stay as they are."""
        path = posixpath.normpath(f"docs/{posixpath.dirname(page.current.path)}/{link['path']}")
        if path.startswith("docs/"):
            return link[0]
        if not (self.project.root / path).exists():
            raise page.current.error(index, f"there is no {path} in this repository")
        file = posixpath.basename(path)
        line = None
        if link["test"]:
            try:
                line = test_line(self.project.root, path, link["test"])
            except EvidenceError as error:
                raise page.current.error(index, f"{error}: name the test that shows it") from None
        elif file.startswith("test_") and file not in link["label"] and "ests" not in link["label"]:
            raise page.current.error(
                index, f"this link names no test: write {file}#test_…, the one that shows it"
            )
        return f"{link['label']}]({self.project.source(path, line)}"

    def _expand(self, index: int, indent: str, expander: Any, argument: str) -> list[str]:
        try:
            expanded = expander(self.project, argument)
        except (
            SnippetError,
            EvidenceError,
            DiagramError,
            GlossaryError,
            ChooseError,
        ) as error:
            raise page.current.error(index, str(error)) from None
        if expanded.startswith("<"):
            lines = [self.md.htmlStash.store(expanded)]
        else:
            lines = self._put_away(expanded.split("\n"))
        return ["", *((indent + each).rstrip() for each in lines), ""]

    def _put_away(self, lines: list[str]) -> list[str]:
        """Return the lines with a placeholder for each element that a directive wrote whole."""
        closing = None
        for index, line in enumerate(lines):
            if closing is None and (fence := _FENCE.match(line)):
                closing = _end_of_fence(lines, index, fence["fence"])
            if closing is None and _ELEMENT.match(line):
                lines[index] = self.md.htmlStash.store(line)
            if closing == index:
                closing = None
        return lines


def _match_footnotes(*, defined: dict[str, int], named: dict[str, int]) -> None:
    for name, index in named.items():
        if name not in defined:
            raise page.current.error(index, f"the footnote [^{name}]: is missing on this page")
    for name, index in defined.items():
        if name not in named:
            raise page.current.error(index, f"nothing on this page names [^{name}]: take it out")


def _end_of_fence(lines: list[str], start: int, fence: str) -> int:
    """Return the index of the line that closes the fence opened at `start`."""
    closing = re.compile(rf"^ *{fence[0]}{{{len(fence)},}} *$")
    for index in range(start + 1, len(lines)):
        if closing.match(lines[index]):
            return index
    raise page.current.error(start, f"the code block that begins here with {fence} is not closed")


def makeExtension(**kwargs: Any) -> DirectiveExtension:  # noqa: N802
    """Make the extension; Python-Markdown looks this name up."""
    return DirectiveExtension(**kwargs)
