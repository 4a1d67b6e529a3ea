"""`::: claims <topic>`: what the tests proved, as experiments.

Each is a claim, the line that carries it on a broker, and what happens without that line.
What holds on all brokers alike is a quiet row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from handbook.brokers import BROKERS, Broker
from handbook.directives.project import Project
from handbook.evidence import CLAIMS, Claim, EvidenceError, Verdict, claims
from handbook.one_broker import attributes
from handbook.snippet import FOLDER, snippet

#: What stands above the claims of each page.
SAID = (
    "Each claim is an experiment: a test on the real server shows it. Run again without the line "
    "that carries the claim, the test shows what happens then. Each mark leads to it. ✓: the "
    "claim holds on this broker. ≠: the broker does something else, and the test asserts what."
)


def experiments(project: Project, name: str) -> str:
    """Return the claims of a pattern: first those on which brokers differ, then the others."""
    entries = recorded(project, name)
    stand_out = [claim for claim in entries if differs(claim)]
    quiet = [claim for claim in entries if claim not in stand_out]
    items = [_entry(project, name, each, quiet=each in quiet) for each in (*stand_out, *quiet)]
    return f'<p>{SAID}</p><ul class="claims experiments">{"".join(items)}</ul>'


def recorded(project: Project, name: str) -> list[Claim]:
    """Return what is recorded of a pattern's claims."""
    every = claims(project.root)
    if not every.get(name):
        raise EvidenceError(
            f"{CLAIMS} has no claims on {name!r}; it has: {', '.join(every) or 'none'}"
        )
    return every[name]


def differs(claim: Claim) -> bool:
    """Tell whether brokers differ: in the claim, in a condition, or in what is seen without it."""
    verdicts = claim.verdicts.values()
    seen = {verdict.seen for verdict in verdicts if verdict.seen}
    return len(seen) > 1 or any(not each.holds or each.says for each in verdicts)


def anchor(claim: Claim) -> str:
    """Return the id of the claim on its page."""
    return claim.name.removeprefix("test_").replace("_", "-")


def _entry(project: Project, name: str, claim: Claim, *, quiet: bool) -> str:
    link = escape(project.source(claim.test, claim.test_line(project.root)))
    ran = [
        (broker, claim.verdicts[broker.key]) for broker in BROKERS if broker.key in claim.verdicts
    ]
    if quiet:
        count = f"all {len(ran)} brokers" if len(ran) > 1 else ran[0][0].label
        marks = f'<a class="claim-holds" href="{link}">✓ holds on {count}</a>'
    else:
        marks = " ".join(_mark(broker, verdict, link) for broker, verdict in ran)
    notes = "".join(item(broker, inline(each.says)) for broker, each in ran if each.says)
    lines = {broker: _lines(project, name, claim, broker) for broker, _ in ran}
    about = [broker.key for broker, line in lines.items() if line]
    return (
        f'<li class="experiment{" quiet" if quiet else ""}" id="{anchor(claim)}">'
        f'<p class="experiment-claim">{inline(claim.text)}</p>'
        f'<p class="experiment-marks">{marks}</p>'
        + (f'<ul class="claims-notes">{notes}</ul>' if notes else "")
        + folded(_without(ran), about, f"<ul>{''.join(lines.values())}</ul>")
        + "</li>"
    )


def _mark(broker: Broker, verdict: Verdict, link: str) -> str:
    kind, mark, word = ("holds", "✓", "holds") if verdict.holds else ("differs", "≠", "differs")
    return (
        f'<a class="claim-{kind}" href="{link}"{attributes([broker.key])}>'
        f'<span aria-hidden="true">{mark}</span> {escape(broker.label)}'
        f'<span class="claims-word"> {word}</span></a>'
    )


def _without(ran: list[tuple[Broker, Verdict]]) -> str:
    """Return what happens without the line: first what most brokers show, then the others."""
    shown: dict[str, list[str]] = {}
    for broker, verdict in ran:
        if verdict.seen:
            shown.setdefault(verdict.seen, []).append(broker.label)
    first, *others = sorted(shown.items(), key=lambda each: -len(each[1])) or [("", [])]
    said = [first[0], *(f"On {' and '.join(labels)}: {seen}" for seen, labels in others)]
    return f"Without the line: {' '.join(said)}"


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
    seen = f'<span class="claims-seen">{changed}: {inline(verdict.seen)}</span>'
    return item(broker, f"{places} {_code(verdict.line)} {seen}")


def folded(summary: str, about: Sequence[str], html: str) -> str:
    """Return what opens on a click; it is about the brokers with these keys."""
    return (
        f"<details{attributes(about)}><summary>{inline(summary)}</summary>{html}</details>"
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
