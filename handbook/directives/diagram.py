"""`::: recording <file> | <caption>` and Mermaid fences: diagrams as SVG, and as text."""

from __future__ import annotations

import re
from html import escape
from textwrap import wrap

from handbook.diagrams import DiagramError, described, render
from handbook.directives.project import Project
from handbook.snippet import FOLDER

_MESSAGE = re.compile(r"^\s*(\w+?)\s*(--?(?:>>|>|x|\)))[+-]?\s*(\w+)\s*:\s*(.+?)\s*$")
_PARTICIPANT = re.compile(r"^\s*(?:participant|actor)\s+(\w+)(?:\s+as\s+(.+?))?\s*$")
#: What sets how far two lanes are apart.
_LABEL = re.compile(r"^(\s*(?:\w+--?>>\w+|Note over \w+): )(.+)$", re.M)
_NOTE = re.compile(r"^\s*Note\s+(?:over|left of|right of)\s+([\w, ]+?)\s*:\s*(.+?)\s*$", re.I)


def drawing(_project: Project, source: str) -> str:
    """Return a diagram that a page's author drew: it must carry a title and a description."""
    title, description = described(source)
    if not title or not description:
        raise DiagramError(
            "a diagram needs a title and a description for those who do not see it: "
            "add lines 'accTitle: …' and 'accDescr: …' below its first line"
        )
    return _figure(source, title, description)


def recording(project: Project, argument: str) -> str:
    """Return the diagram that a run of the minibroker recorded, and the same as a list."""
    path, _, caption = (part.strip() for part in argument.partition("|"))
    if not path.endswith(".mmd") or not caption:
        raise DiagramError("write '::: recording <folder>/on_minibroker.mmd | <caption>'")
    file = project.snippets / path
    if not file.is_file():
        raise DiagramError(
            f"there is no recording {FOLDER}/{path}: `make record` writes it from "
            "a run of the snippet beside it"
        )
    source = file.read_text(encoding="utf-8")
    steps = _steps(source)
    title, description = described(source)
    return _figure(
        _narrow(source),
        title or caption,
        description or f"A sequence of {len(steps)} steps, listed below the picture.",
        caption,
        "".join(f"<li>{escape(step)}</li>" for step in steps),
    )


def _narrow(source: str) -> str:
    """Break what stands on arrows, and beside one lane, so that the picture fits a phone."""
    return _LABEL.sub(
        lambda label: (
            label[1]
            + "<br/>".join(wrap(label[2], 12, break_long_words=False, break_on_hyphens=False))
        ),
        source,
    )


def _figure(source: str, title: str, description: str, caption: str = "", steps: str = "") -> str:
    svg, width = render(source, title, description)
    parts = [
        '<figure class="diagram" data-search-exclude>',
        '<div class="diagram-scroll" role="group" tabindex="0" ',
        f'aria-label="Diagram: {escape(title)}" style="--diagram-width:{width}px">{svg}</div>',
    ]
    if steps:
        steps = f"<details><summary>The same as text</summary><ol>{steps}</ol></details>"
    if caption:
        parts.append(f"<figcaption>{escape(caption)}{steps}</figcaption>")
    return "".join([*parts, "</figure>"])


def _steps(source: str) -> list[str]:
    names: dict[str, str] = {}
    steps: list[str] = []
    for line in source.splitlines():
        if participant := _PARTICIPANT.match(line):
            names[participant[1]] = participant[2] or participant[1]
        elif message := _MESSAGE.match(line):
            sender, receiver = (names.get(message[n], message[n]) for n in (1, 3))
            steps.append(f"{sender} → {receiver}: {message[4]}")
        elif note := _NOTE.match(line):
            over = ", ".join(names.get(each.strip(), each.strip()) for each in note[1].split(","))
            steps.append(f"{over}: {note[2]}")
    return steps
