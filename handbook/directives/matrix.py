"""`::: matrix patterns/work_queue, …`: every claim of these patterns on every broker.

Each cell leads to the claim on its pattern's page. A script offers to filter: without it all is
there.
"""

from __future__ import annotations

from html import escape

from handbook import page
from handbook.brokers import BROKERS, Broker
from handbook.directives.claims import anchor, inline, recorded
from handbook.directives.project import Project
from handbook.directives.support import page_of
from handbook.evidence import Claim
from handbook.one_broker import attributes


def table(project: Project, topics: str) -> str:
    """Return the filter and the table claim by broker, grouped by pattern."""
    names = [each.strip() for each in topics.split(",")]
    heads = "".join(
        f'<th scope="col"{attributes([broker.key])}>{_short(broker)}</th>' for broker in BROKERS
    )
    bodies = "".join(_body(project, name) for name in names)
    choices = "".join(
        f'<option value="{name}">{escape(page_of(project.root, name)[1])}</option>'
        for name in names
    )
    return (
        '<div class="claims"><fieldset class="matrix-filter" hidden data-counts="claim">'
        "<legend>Filter</legend>"
        '<label><input type="checkbox"> only where a broker differs</label>'
        f'<label>Pattern <select><option value="">all</option>{choices}</select></label>'
        '<span role="status"></span></fieldset>'
        '<table class="claims-table matrix-table"><thead>'
        f'<tr><th scope="col">Claim</th>{heads}</tr></thead>{bodies}</table></div>'
    )


def _body(project: Project, name: str) -> str:
    file, title = page_of(project.root, name)
    link = page.current.link_to(file)
    prefix = name.rpartition("/")[2].replace("_", "-")
    rows = "".join(_row(claim, link, prefix) for claim in recorded(project, name))
    return (
        f'<tbody data-pattern="{name}"><tr class="matrix-pattern">'
        f'<th scope="rowgroup" colspan="{len(BROKERS) + 1}"><a href="{link}">{escape(title)}</a>'
        f"</th></tr>{rows}</tbody>"
    )


def _row(claim: Claim, link: str, prefix: str) -> str:
    cells = "".join(_cell(broker, claim, link) for broker in BROKERS)
    row = f"{prefix}-{anchor(claim)}"
    return f'<tr id="{row}"><th scope="row">{inline(claim.text)}</th>{cells}</tr>'


def _cell(broker: Broker, claim: Claim, link: str) -> str:
    verdict = claim.verdicts.get(broker.key)
    label = f'<span class="matrix-broker">{_short(broker)}</span>'
    marked = attributes([broker.key])
    if verdict is None:
        return (
            f'<td class="claim-open"{marked}>{label}<span class="claims-word">: not run</span></td>'
        )
    kind, mark, word = ("holds", "✓", "holds") if verdict.holds else ("differs", "≠", "differs")
    return (
        f'<td class="claim-{kind}"{marked}><a href="{link}#{anchor(claim)}">'
        f'<span aria-hidden="true">{mark}</span> {label}<span class="claims-word">: {word}</span>'
        "</a></td>"
    )


def _short(broker: Broker) -> str:
    return escape((*broker.also, broker.label)[0])
