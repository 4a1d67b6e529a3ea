"""`::: atlas`: what the brokers guarantee, as `make atlas` recorded it.

`::: atlas matrix` is a row for each question and a column for each broker, with a filter, and
`::: atlas trials too-long too-old` the same for a few questions. `::: atlas group Limits` has the
sentences of a group, a section for each question; `::: atlas said too-long-redis-maxlen` those of
a few answers, in a list, and `::: atlas pattern work_queue` what that pattern's snippet did in a
cluster. `::: atlas disagreements` is where documentation and run differ, and
`::: atlas versions` says what ran, and when. `::: atlas plot leader-killed` draws.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

from handbook import page
from handbook.answers import GROUPS, Answer, Asked, answers, asked, at_work, called
from handbook.atlas import ALONE
from handbook.brokers import BROKERS, Broker
from handbook.directives import atlas_plots
from handbook.directives.claims import inline
from handbook.directives.project import Project
from handbook.evidence import EvidenceError, test_line
from handbook.one_broker import attributes

DISAGREEMENTS = "atlas/disagreements.md"
#: The minibroker is no server.
COLUMNS = [broker for broker in BROKERS if broker.variable]


def expand(project: Project, argument: str) -> str:
    """Return what the argument asks for."""
    name, _, rest = argument.partition(" ")
    if name in _PARTS and not rest:
        return _PARTS[name](project)
    if name in _PARTS_OF and rest:
        return _PARTS_OF[name](project, rest)
    raise EvidenceError(
        f"`::: atlas` takes {', '.join(_PARTS)}, or {', '.join(_PARTS_OF)} and what it is of,"
        f" not {argument!r}"
    )


# The matrix.


def matrix(project: Project) -> str:
    """Return the table of all questions, by group, and its filter."""
    every = asked(project.root)
    there = [name for name in GROUPS if any(one.group == name for one in every)]
    choices = "".join(f'<option value="{_slug(name)}">{escape(name)}</option>' for name in there)
    bodies = "".join(
        _body([one for one in every if one.group == name], name, named=True) for name in there
    )
    return (
        '<div class="claims"><fieldset class="matrix-filter" hidden data-counts="question">'
        '<legend>Filter</legend><label><input type="checkbox"> only with ✗</label>'
        f'<label>Group <select><option value="">all</option>{choices}</select></label>'
        f'<span role="status"></span></fieldset>{_table(bodies)}</div>'
    )


def trials(project: Project, keys: str) -> str:
    """Return the table of some questions."""
    return f'<div class="claims">{_table(_body(called(project.root, keys.split())))}</div>'


def _table(bodies: str) -> str:
    heads = "".join(
        f'<th scope="col"{attributes([broker.key])}>{_short(broker)}</th>' for broker in COLUMNS
    )
    return (
        '<table class="atlas-matrix"><thead><tr><th scope="col">Question</th>'
        f"{heads}</tr></thead>{bodies}</table>"
    )


def _body(rows: Sequence[Asked], group: str = "", *, named: bool = False) -> str:
    """Return these rows, below the name of their group. If they are `named`, links can lead here.

    On the page with the sentences, the names are those of the sentences.
    """
    cells = "".join(_row(one, named=named) for one in rows)
    if not group:
        return f"<tbody>{cells}</tbody>"
    return (
        f'<tbody data-pattern="{_slug(group)}"><tr class="atlas-group">'
        f'<th scope="rowgroup" colspan="{len(COLUMNS) + 1}">'
        f'<a href="{escape(page.current.link_to(GROUPS[group]))}">{escape(group)}</a>'
        f"</th></tr>{cells}</tbody>"
    )


def _row(one: Asked, *, named: bool) -> str:
    link = escape(f"{page.current.link_to(one.page)}#{one.key}")
    three = ' <span class="atlas-name">three servers</span>' if one.three else ""
    head = f'<th scope="row"><a href="{link}">{inline(one.asks)}</a>{three}</th>'
    cells = "".join(_cell(one, broker, named=named) for broker in COLUMNS)
    return f"<tr{_id(one.key, named=named)}>{head}{cells}</tr>"


def _cell(one: Asked, broker: Broker, *, named: bool) -> str:
    its = one.answers.get(broker.key, [])
    label = f'<span class="atlas-broker">{_short(broker)}</span>'
    alike: dict[tuple[bool, str], list[Answer]] = {}
    for answer in its:
        alike.setdefault((answer.holds, answer.short), []).append(answer)
    lines = " ".join(_line(one, same, alone=len(its) == 1, named=named) for same in alike.values())
    return f"<td{attributes([broker.key])}>{label} <div>{lines or _none(one, broker)}</div></td>"


def _line(one: Asked, same: Sequence[Answer], *, alone: bool, named: bool) -> str:
    """Return what some settings showed alike: a link for each of them, or one if it is alone."""
    kind, mark = ("holds", "✓") if same[0].holds else ("differs", "✗")
    short = inline(same[0].short)
    links = ", ".join(
        f"<a{_id(answer.anchor, named=named) if named else _title(answer)}"
        f' href="{escape(_link(one, answer))}">{short if alone else escape(_name(answer))}</a>'
        for answer in same
    )
    said = links if alone else f"{short}: {links}"
    return f'<div class="claim-{kind}"><b>{mark}</b> {said}</div>'


def _name(answer: Answer) -> str:
    return "default" if answer.default else answer.name or answer.setting.replace("`", "")


def _title(answer: Answer) -> str:
    """Return the setting by its options. The table of all answers leaves that to the sentences."""
    return f' title="{escape(answer.setting.replace("`", ""))}"'


def _none(one: Asked, broker: Broker) -> str:
    if broker.key not in one.cannot:
        return '<div class="atlas-open">· not run</div>'
    link = escape(f"{page.current.link_to(one.page)}#{one.key}-{broker.key}")
    why = "no cluster" if one.three and broker.key in ALONE else "can't be asked"
    return f'<div class="atlas-open">· <a href="{link}">{why}</a></div>'


def _link(one: Asked, answer: Answer) -> str:
    return f"{page.current.link_to(one.page)}#{answer.anchor}"


def _id(name: str, *, named: bool) -> str:
    return f' id="{name}"' if named else ""


def _short(broker: Broker) -> str:
    return escape((*broker.also, broker.label)[0])


def _slug(group: str) -> str:
    return posixpath.basename(GROUPS[group]).removesuffix(".md")


# Sentences.


def group(project: Project, name: str) -> str:
    """Return the group's table, and a section for each question with what each broker showed."""
    rows = [one for one in asked(project.root) if one.group == name]
    if not rows:
        raise EvidenceError(f"the atlas has no group {name!r}; there are: {', '.join(GROUPS)}")
    # What begins with a tag would be taken for HTML as a whole.
    parts = ["", f'<div class="claims">{_table(_body(rows))}</div>']
    for one in rows:
        parts += [f"## {one.asks} {{ #{one.key} }}", one.what]
        parts.append("\n".join(_items(project, one)))
    return "\n\n".join(parts)


def _items(project: Project, one: Asked) -> list[str]:
    items = []
    for broker in COLUMNS:
        items += [
            f"- **{broker.label}**, {answer.called}: {answer.says}{_beside(project, answer)}\n"
            f"    {{ #{answer.anchor} }}"
            for answer in one.answers.get(broker.key, [])
        ]
        if how := one.by_hand.get(broker.key):
            items.append(f"- **{broker.label}**, by hand: {how}")
        if why := one.cannot.get(broker.key):
            if one.three and broker.key in ALONE:
                why += f" [More]({_to(ALONE[broker.key][1])})"
            items.append(f"- **{broker.label}**: {why}\n    {{ #{one.key}-{broker.key} }}")
        elif broker.key not in one.answers:
            items.append(f"- **{broker.label}**: This was not run yet.")
    return items


def _beside(project: Project, answer: Answer) -> str:
    """Return what stands behind a sentence: the documentation, the code, the history."""
    said = ""
    if answer.documented:
        said = (
            f" That is [as documented]({answer.documented.source})."
            if answer.documented.agrees
            else f" [The documentation says otherwise]({_to(DISAGREEMENTS)}#{answer.anchor})."
        )
    links = [f"[Test]({_test(project, answer.test)})"]
    if answer.history:
        links.append(f"[History]({_to(answer.history)})")
    return f"{said} {' · '.join(links)}"


def _test(project: Project, test: str) -> str:
    path, _, name = test.partition("#")
    return project.source(path, test_line(project.root, path, name) if name else None)


def said(project: Project, anchors: str) -> str:
    """Return some answers as a list: what was asked, in which setting, and what was seen."""
    found = answers(project.root, anchors.split())
    several = len({answer.broker.key for _, answer in found}) > 1
    return "\n".join(
        f"- {f'**{answer.broker.label}**: ' if several else ''}"
        f"[{_heading(one)}]({_to(one.page)}#{answer.anchor}) {answer.called}: {_brief(one, answer)}"
        for one, answer in found
    )


def _brief(one: Asked, answer: Answer) -> str:
    """Return what was seen, without what clusters are measured by beside."""
    return answer.says.partition("; ")[0] + "." if one.three else answer.says


def pattern(project: Project, name: str) -> str:
    """Return what a pattern's snippet kept when a leader was killed; nothing before it is known."""
    one = at_work(project.root, name)
    if one is None:
        return ""
    said = " ".join(part for part in (one.says, one.by_hand) if part)
    return (
        "Each pattern was tried on one broker in a cluster of three, whose leader was killed while"
        " the snippet was at work:\n\n"
        f"- **{one.broker.label}**: {said} Seen on {one.server}. [Test]({_test(project, one.test)})"
    )


def _ended(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def _heading(one: Asked) -> str:
    """Return the question without what it asks behind its colon."""
    return one.asks.partition(":")[0].rstrip("?.") + "."


def _to(file: str) -> str:
    """Return the link in Markdown from this page to a file below docs/."""
    return posixpath.relpath(file, posixpath.dirname(page.current.path) or ".")


# What the documentation says otherwise.


def disagreements(project: Project) -> str:
    """Return, by broker, where the documentation says one thing and a run showed another."""
    parts = []
    for broker in COLUMNS:
        compared = [
            (one, answer)
            for one in asked(project.root)
            for answer in one.answers.get(broker.key, [])
            if answer.documented
        ]
        differ = [
            (one, answer, answer.documented)
            for one, answer in compared
            if answer.documented and not answer.documented.agrees
        ]
        count = f"Answers that were compared with the documentation: {len(compared)}."
        parts.append(f"## {broker.label}")
        if not differ:
            parts.append(f"None was found. {count}")
            continue
        parts.append(count)
        parts.append(
            "\n".join(
                f"- *{_ended(one.asks)}* With {answer.called}.\n\n"
                f"    The documentation says: {documented.says} ([source]({documented.source}))\n\n"
                f"    [Seen]({_to(one.page)}#{answer.anchor}) on {answer.server}: {answer.says}"
                f"\n    {{ #{answer.anchor} }}\n"
                for one, answer, documented in differ
            )
        )
    return "\n\n".join(parts)


# What ran.


def versions(project: Project) -> str:
    """Return a list of what each broker's answers ran on, and on which days."""
    lines = []
    for broker in COLUMNS:
        its = [
            (one, answer)
            for one in asked(project.root)
            for answer in one.answers.get(broker.key, [])
        ]
        if not its:
            continue
        days = sorted({answer.taken for _, answer in its})
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        counts = Counter(one.three for one, _ in its)
        kinds = [
            f"{counts[three]} on {how}"
            for three, how in ((False, "one server"), (True, "three"))
            if counts[three]
        ]
        servers = ", ".join(dict.fromkeys(answer.server for _, answer in its))
        clients = ", ".join(dict.fromkeys(answer.client for _, answer in its))
        code = project.source(f"tests/atlas/on_{broker.key}.py")
        link = f" [The settings of three]({code})" if counts[True] else ""
        lines.append(
            f"- **{broker.label}**: {servers} with {clients};"
            f" answers: {' and '.join(kinds)}, {when}.{link}"
        )
    return "\n".join(lines)


_PARTS: dict[str, Callable[[Project], str]] = {
    "matrix": matrix,
    "disagreements": disagreements,
    "versions": versions,
}
_PARTS_OF: dict[str, Callable[[Project, str], str]] = {
    "trials": trials,
    "group": group,
    "said": said,
    "pattern": pattern,
    "plot": atlas_plots.expand,
}
