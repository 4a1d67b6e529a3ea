"""`::: support patterns/work_queue, …`: which broker has which pattern of its own, by its tests.

One of a pattern's claims is marked as what it promises. Where that holds, the pattern is the
broker's own, or was added with the help that the claim names; where it differs, the broker has it
not.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from handbook import page
from handbook.brokers import BROKERS, Broker
from handbook.directives.claims import anchor, cell, folded, inline, item, recorded
from handbook.directives.project import Project
from handbook.evidence import Claim, EvidenceError, Verdict, promise
from handbook.one_broker import attributes


def table(project: Project, topics: str) -> str:
    """Return the table pattern by broker; each cell links to what is proven."""
    names = [each.strip() for each in topics.split(",")]
    heads = "".join(
        f'<th scope="col"{attributes([broker.key])}>{escape(broker.label)}</th>'
        for broker in BROKERS
    )
    bodies = "".join(_body(project, name, promise(name, recorded(project, name))) for name in names)
    return (
        '<div class="claims"><table class="claims-table support-table"><thead>'
        f'<tr><th scope="col">Pattern</th>{heads}</tr></thead>{bodies}</table></div>'
    )


def _body(project: Project, name: str, promised: Claim) -> str:
    file, title = page_of(project.root, name)
    link = page.current.link_to(file)
    prefix = name.rpartition("/")[2].replace("_", "-")
    claim = f"{link}#{anchor(promised)}"
    cells = "".join(_cell(broker, promised.verdicts.get(broker.key), claim) for broker in BROKERS)
    differs = {
        broker: said
        for broker in BROKERS
        if (verdict := promised.verdicts.get(broker.key)) and (said := _note(verdict))
    }
    items = "".join(item(broker, inline(said)) for broker, said in differs.items())
    notes = folded(
        "What differs",
        [broker.key for broker in differs],
        f'<ul class="claims-notes">{items}</ul>',
    )
    return (
        f'<tbody><tr id="support-{prefix}">'
        f'<th scope="row"><a href="{link}">{escape(title)}</a></th>{cells}</tr>'
        f'<tr class="claims-more"><td colspan="{len(BROKERS) + 1}">{notes}</td></tr></tbody>'
    )


def page_of(root: Path, name: str) -> tuple[str, str]:
    """Return the page of a pattern, below docs/, and its title."""
    file = f"{name.replace('_', '-')}.md"
    path = root / "docs" / file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    if not found:
        raise EvidenceError(
            f"docs/{file} is missing, or has no `# ` heading to name the pattern by"
        )
    return file, found[1]


def _note(verdict: Verdict) -> str:
    return verdict.with_help if verdict.holds else verdict.says


def _cell(broker: Broker, verdict: Verdict | None, link: str) -> str:
    if verdict is None:
        return cell(broker)
    if not verdict.holds:
        kind, mark, word = "differs", "✗", "no"
    elif verdict.with_help:
        kind, mark, word = "helped", "✚", "with help"
    else:
        kind, mark, word = "holds", "✓", "native"
    return cell(broker, kind, mark, word, link)
