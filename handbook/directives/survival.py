"""`::: survival`: what each long-lived function makes of each fault, a table a broker.

`::: survival faults` lists the faults. Under a snippet, `facts` is its line with a link to its row.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from html import escape

from handbook import page
from handbook.brokers import BROKERS, Broker
from handbook.directives.project import Project
from handbook.evidence import SURVIVAL, EvidenceError, LongLived, Outcome, Survival, survival
from handbook.snippet import FOLDER, snippet

PAGE = "best-practices/survival.md"
#: By the verdict: the class of its cell, its mark, and how a sentence counts its faults.
VERDICTS = {
    "goes on": ("holds", "✓", "goes on in"),
    "ends": ("ends", "↻", "ends with an exception in"),
    "logs the cause, and goes on afterwards": ("holds", "✎", "logs the cause in"),
    "leaves in order": ("holds", "✓", ""),
}


def expand(project: Project, argument: str) -> str:
    """Return the list of faults, or for each broker a heading and its table."""
    recorded = survival(project.root)
    if not recorded.functions:
        raise EvidenceError(f"{SURVIVAL} holds nothing: `make record` writes it")
    if argument == "faults":
        return _faults(recorded)
    if argument:
        raise EvidenceError(f"`::: survival` takes nothing or `faults`, and not {argument!r}")
    parts = [
        part
        for broker in BROKERS
        if any(one.key == broker.key for one in recorded.functions)
        for part in _broker(project, recorded, broker)
    ]
    return "\n\n".join(parts)


def facts(project: Project, path: str, section: str = "") -> list[str]:
    """Return what the snippet's functions, or those of one section of it, survive."""
    said = [
        f'<a href="{escape(page.current.link_to(f"{PAGE}#{one.anchor}"))}">'
        f"`{one.function}()` {_counted(one)}</a>"
        for one in survival(project.root).functions
        if one.snippet == path and section in {"", one.function, one.function.partition(".")[0]}
    ]
    return [f"Survives: {'; '.join(said)}"] if said else []


def _counted(one: LongLived) -> str:
    counts = Counter(outcome.verdict for outcome in one.outcomes.values())
    said = [
        f"{how} {counts[verdict]} {'fault' if counts[verdict] == 1 else 'faults'}"
        for verdict, (_, _, how) in VERDICTS.items()
        if how and counts[verdict]
    ]
    return ", ".join([*said, *(["leaves in order"] if counts["leaves in order"] else [])])


def _faults(recorded: Survival) -> str:
    rows = [f"| {_short(name)} | {says} |" for name, says in recorded.faults.items()]
    return "\n".join(["| Fault | What happens |", "|---|---|", *rows])


def _short(fault: str) -> str:
    return "SIGTERM" if fault == "sigterm" else fault.replace("_", " ")


def _broker(project: Project, recorded: Survival, broker: Broker) -> list[str]:
    """Return the broker's heading, what was tried on which server, and the table."""
    its = [one for one in recorded.functions if one.key == broker.key]
    tried = [name for name in recorded.faults if any(name in one.outcomes for one in its)]
    untried = [_short(name) for name in recorded.faults if name not in tried]
    functions = f"{len(its)} functions" if len(its) > 1 else "One function"
    said = f"{functions}, on {recorded.servers.get(broker.key, broker.label)}."
    if untried:
        said += f" Not recorded here: {', '.join(untried)}."
    heads = "".join(f'<th scope="col"><span>{escape(_short(name))}</span></th>' for name in tried)
    bodies = "".join(_body(project, one, tried) for one in its)
    table = (
        '<div class="claims"><table class="claims-table survival-table"><thead>'
        f'<tr><th scope="col">Function</th>{heads}</tr></thead>{bodies}</table></div>'
    )
    return [f"## {broker.label}", said, table]


def _body(project: Project, one: LongLived, tried: list[str]) -> str:
    link = project.source(f"{FOLDER}/{one.snippet}", _line(project, one))
    folder = one.snippet.rpartition("/")[0]
    breakable = escape(folder).replace("/", "/<wbr>").replace("_", "_<wbr>")
    cells = "".join(_cell(_short(name), one.outcomes.get(name)) for name in tried)
    return (
        f'<tbody id="{escape(one.anchor)}"><tr><th scope="row">'
        f'<code>{escape(one.function)}()</code> <a href="{escape(link)}">{breakable}</a></th>'
        f'{cells}</tr><tr class="claims-more"><td colspan="{len(tried) + 1}">{_texts(one)}</td>'
        "</tr></tbody>"
    )


def _line(project: Project, one: LongLived) -> int:
    """Return where the function stands; the record must fit the snippets."""
    for node in ast.walk(ast.parse(snippet(project.snippets, one.snippet).code)):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == one.function.rpartition(".")[2]:
            return node.lineno
    raise EvidenceError(
        f"{SURVIVAL} names {one.function}() of {FOLDER}/{one.snippet}, which is not there: "
        "run `make record`"
    )


def _cell(fault: str, outcome: Outcome | None) -> str:
    label = f'<span class="claims-broker">{escape(fault)}: </span>'
    if outcome is None:
        return (
            f'<td class="claim-open">{label}<span class="claims-mark" aria-hidden="true">·</span> '
            '<span class="survival-word">no verdict</span></td>'
        )
    kind, mark, _ = VERDICTS.get(outcome.verdict, ("open", "?", ""))
    return (
        f'<td class="claim-{kind}">{label}'
        f'<span class="claims-mark" aria-hidden="true">{mark}</span> '
        f'<span class="survival-word">{escape(outcome.verdict)}</span> '
        f'<span class="survival-time">{outcome.seconds}&nbsp;s</span></td>'
    )


def _texts(one: LongLived) -> str:
    """Return what its exceptions and its log said, each text once."""
    faults: dict[str, list[str]] = defaultdict(list)
    for name, outcome in one.outcomes.items():
        if outcome.text and not outcome.verdict.startswith("leaves"):
            faults[outcome.text].append(_short(name))
    if not faults:
        return ""
    said = "".join(
        f"<li><strong>{escape(', '.join(names))}:</strong> <code>{escape(text)}</code></li>"
        for text, names in faults.items()
    )
    return f"<details><summary>What it says</summary><ul>{said}</ul></details>"
