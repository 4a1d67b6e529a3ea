"""`::: claims <topic>`: what the tests proved, broker by broker, and the lines that carry it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from handbook.brokers import BROKERS, Broker
from handbook.directives.project import Project
from handbook.evidence import CLAIMS, Claim, EvidenceError, Verdict, claims
from handbook.one_broker import attributes
from handbook.snippet import FOLDER, snippet


def table(project: Project, name: str) -> str:
    """Return the table claim by broker; each cell links to the test."""
    recorded = claims(project.root)
    if name not in recorded:
        raise EvidenceError(
            f"{CLAIMS} has no claims on {name!r}; it has: {', '.join(recorded) or 'none'}"
        )
    shown = [broker for broker in BROKERS if any(broker.key in c.verdicts for c in recorded[name])]
    heads = "".join(
        f'<th scope="col"{attributes([broker.key])}>{escape(broker.label)}</th>' for broker in shown
    )
    bodies = "".join(_body(project, name, claim, shown) for claim in recorded[name])
    return (
        '<div class="claims"><table class="claims-table"><thead>'
        f'<tr><th scope="col">Claim</th>{heads}</tr></thead>{bodies}</table></div>'
    )


def _body(project: Project, name: str, claim: Claim, shown: list[Broker]) -> str:
    link = project.source(claim.test, claim.test_line(project.root))
    cells = "".join(_cell(broker, claim.verdicts.get(broker.key), link) for broker in shown)
    said = [
        (broker, claim.verdicts[broker.key].says)
        for broker in shown
        if broker.key in claim.verdicts and claim.verdicts[broker.key].says
    ]
    notes = "".join(item(broker, inline(text)) for broker, text in said)
    notes = f'<ul class="claims-notes">{notes}</ul>' if notes else ""
    carried = {broker.key: _lines(project, name, claim, broker) for broker in shown}
    about = [key for key, found in carried.items() if found]
    lines = folded(
        "The lines that carry it, and what happens without them",
        about,
        f"<ul>{''.join(carried.values())}</ul>",
    )
    return (
        f'<tbody><tr><th scope="row">{inline(claim.text)}</th>{cells}</tr>'
        f'<tr class="claims-more"><td colspan="{len(shown) + 1}">{notes}{lines}</td></tr></tbody>'
    )


def _cell(broker: Broker, verdict: Verdict | None, link: str) -> str:
    if verdict is None:
        return cell(broker)
    kind, mark, word = ("holds", "✓", "holds") if verdict.holds else ("differs", "≠", "differs")
    return cell(broker, kind, mark, word, link)


def cell(broker: Broker, kind: str = "open", mark: str = "", word: str = "", link: str = "") -> str:
    """Return what a row says of a broker; without a link, that nothing was run."""
    label = f'<span class="claims-broker">{escape(broker.label)}: </span>'
    marked = attributes([broker.key])
    if not link:
        return f'<td class="claim-{kind}"{marked}>{label}<span>not run</span></td>'
    return (
        f'<td class="claim-{kind}"{marked}><a href="{escape(link)}">{label}'
        f'<span class="claims-mark" aria-hidden="true">{mark}</span> '
        f'<span class="claims-word">{word}</span></a></td>'
    )


def _lines(project: Project, name: str, claim: Claim, broker: Broker) -> str:
    verdict = claim.verdicts.get(broker.key)
    if verdict is None or not verdict.line:
        return ""
    path = f"{name}/{broker.file_name}"
    shown = snippet(project.snippets, path)
    files = [shown, *(snippet(project.snippets, beside) for beside in shown.companions)]
    found = [(file.path, lines) for file in files for lines in file.lines_of(verdict.line)]
    if not found:
        raise EvidenceError(
            f"{FOLDER}/{path}, with what it imports, does not contain the line that carries "
            f"{claim.name}: {verdict.line!r}. Correct it beside the claim in {claim.test}, then "
            "run `make record`"
        )
    places = ", ".join(
        f'<a href="{escape(project.source(f"{FOLDER}/{file}", lines[0]))}">'
        f"{'' if file == path else f'{file}, '}{_numbers(lines)}</a>"
        for file, lines in found
    )
    changed = f"Changed to {_code(verdict.instead)}" if verdict.instead else "Taken out"
    seen = verdict.seen or "The test fails."
    seen = f'<span class="claims-seen">{changed}: {inline(seen)}</span>'
    return item(broker, f"{places} {_code(verdict.line)}{seen}")


def folded(summary: str, about: Sequence[str], html: str) -> str:
    """Return what opens on a click; it is about the brokers with these keys."""
    return (
        f"<details{attributes(about)}><summary>{escape(summary)}</summary>{html}</details>"
        if about
        else ""
    )


def item(broker: Broker, html: str) -> str:
    """Return what a list below a row says of a broker."""
    marked = attributes([broker.key])
    return f"<li{marked}><strong>{escape(broker.label)}:</strong> {html}</li>"


def _code(text: str) -> str:
    return f"<code>{escape(' '.join(text.split()))}</code>"


def _numbers(lines: range) -> str:
    return f"line {lines[0]}" if len(lines) == 1 else f"lines {lines[0]} to {lines[-1]}"


def inline(text: str) -> str:
    """Return the sentence as HTML, with `code` marked."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
