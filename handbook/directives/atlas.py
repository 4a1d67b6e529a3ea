"""`::: atlas`: what confirms are worth, as `make atlas` recorded it.

`::: atlas matrix` is a row for each setting of each broker and a column for each question.
`::: atlas questions` has a section for each question, with a sentence for each setting.
`::: atlas versions` says what ran, and when. `::: atlas plot leader-killed` draws the confirms of
one question over time, a plot for each broker.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from handbook import page
from handbook.atlas import ALONE, Asked, Cell, Question, Setting, asked, confirms, questions
from handbook.brokers import BROKERS, named
from handbook.directives.claims import inline
from handbook.directives.project import Project
from handbook.evidence import EvidenceError
from handbook.one_broker import attributes

PAGE = "atlas/index.md"


def expand(project: Project, argument: str) -> str:
    """Return what the argument asks for."""
    name, _, rest = argument.partition(" ")
    if name == "plot":
        return _plots(project, rest)
    if argument not in _PARTS:
        raise EvidenceError(
            f"`::: atlas` takes {', '.join(_PARTS)} or `plot` and a question, not {argument!r}"
        )
    return _PARTS[argument](project)


# The matrix.


def matrix(project: Project) -> str:
    """Return the table setting by question; each cell leads to its sentence."""
    asks = questions(project.root)
    heads = "".join(f'<th scope="col"><span>{_short(key)}</span></th>' for key in asks)
    rows = {
        one.broker.key: "".join(_body(one, setting, asks) for setting in one.settings)
        for one in asked(project.root)
    }
    rows |= {key: _alone(key, len(asks)) for key in ALONE}
    bodies = "".join(rows.get(broker.key, "") for broker in BROKERS)
    return (
        '<div class="claims"><table class="claims-table survival-table atlas-table"><thead><tr>'
        f'<th scope="col">Broker and setting</th>{heads}</tr></thead>{bodies}</table></div>'
    )


def _body(one: Asked, setting: Setting, asks: dict[str, Question]) -> str:
    cells = "".join(_cell(one, setting, key) for key in asks)
    return (
        f'<tbody{attributes([one.broker.key])}><tr><th scope="row">{escape(one.broker.label)}'
        f'<span class="atlas-setting">{inline(setting.says)}</span></th>{cells}</tr></tbody>'
    )


def _alone(key: str, columns: int) -> str:
    says, file = ALONE[key]
    return (
        f'<tbody{attributes([key])}><tr><th scope="row">{escape(named(key).label)}</th>'
        f'<td class="atlas-alone" colspan="{columns}">'
        f'<a href="{escape(page.current.link_to(file))}">{says}</a></td></tr></tbody>'
    )


def _cell(one: Asked, setting: Setting, question: str) -> str:
    label = f'<span class="claims-broker">{_short(question)}: </span>'
    cell = one.cells.get((setting.key, question))
    if cell is None:
        word = "can't be asked" if question in one.cannot else "not run"
        return (
            f'<td class="claim-open">{label}<span class="claims-mark" aria-hidden="true">·</span> '
            f'<span class="survival-word">{word}</span></td>'
        )
    kind, mark = ("differs", "✗") if cell.loses else ("holds", "✓")
    number = f"{_range(cell.values('lost'))} lost" if cell.loses else "0 lost"
    link = f"{page.current.link_to(PAGE)}#{_anchor(one, setting, question)}"
    return (
        f'<td class="claim-{kind}"><a href="{escape(link)}">{label}'
        f'<span class="claims-mark" aria-hidden="true">{mark}</span> '
        f'<span class="survival-time">{number}</span></a></td>'
    )


def _short(question: str) -> str:
    return escape(question.replace("-", " "))


def _anchor(one: Asked, setting: Setting, question: str) -> str:
    return f"{question}-{one.broker.key}-{setting.key}"


# The questions.


def sections(project: Project) -> str:
    """Return a heading for each group, one for each question, and its sentences."""
    parts: list[str] = []
    group = ""
    brokers = asked(project.root)
    asks = questions(project.root)
    for question in sorted(asks.values(), key=lambda one: _groups(asks).index(one.group)):
        if question.group != group:
            group = question.group
            parts.append(f"## {group}")
        parts += [f"### {question.asks} {{ #{question.key} }}", question.what]
        parts.append("\n".join(_sentences(question, brokers)))
    return "\n\n".join(parts)


def _groups(asks: dict[str, Question]) -> list[str]:
    return list(dict.fromkeys(question.group for question in asks.values()))


def _sentences(question: Question, brokers: Sequence[Asked]) -> list[str]:
    items = []
    for one in brokers:
        for setting in one.settings:
            if cell := one.cells.get((setting.key, question.key)):
                link = f"../{cell.history}"
                said = f"{_sentence(cell)} [History]({link})"
            else:
                said = one.cannot.get(question.key, "This was not run yet.")
            anchor = f"{{ #{_anchor(one, setting, question.key)} }}"
            items.append(f"- **{one.broker.label}**, {setting.says}: {said}\n    {anchor}")
    return items


def _sentence(cell: Cell) -> str:
    """Return what was seen, in sentences that are true of every run."""
    confirmed, lost = cell.values("confirmed"), cell.values("lost")
    if cell.loses:
        said = f"of {_range(confirmed)} confirmed messages, **{_range(lost)} are lost**"
    else:
        said = f"{_range(confirmed)} messages were confirmed, and none of them is lost"
    parts = [f"{said}; the longest time without a confirm was {_range(cell.values('gap'), 1)} s."]
    if any(refused := cell.values("refused")):
        parts.append(f"The broker or the client refused {_range(refused)}.")
    if any(unknown := cell.values("unknown")):
        there = cell.values("unknown_there")
        of_these = (
            f"{_range(there)} of these messages were there" if any(there) else "none was there"
        )
        parts.append(f"{_count(unknown, 'call', 'calls')} got no answer, and {of_these}.")
    if any(twice := cell.values("twice")):
        parts.append(f"{_count(twice, 'message', 'messages')} came a second time.")
    if any(out_of_order := cell.values("out_of_order")):
        parts.append(f"{_count(out_of_order, 'message', 'messages')} came out of order.")
    if max(cell.values("whole")) > 30:
        whole = _range(cell.values("whole"))
        parts.append(f"All servers were in step again {whole} s after the fault.")
    return " ".join(parts)


def _count(values: Sequence[float], one: str, more: str) -> str:
    return f"{_range(values)} {one if set(values) == {1} else more}"


def _range(values: Sequence[float], digits: int = 0) -> str:
    """Return the least and the greatest of some numbers, or the one that they all are."""
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


# What ran.


def versions(project: Project) -> str:
    """Return a list of what each broker's cells ran on, and on which days."""
    lines = []
    for one in asked(project.root):
        days = sorted({cell.taken for cell in one.cells.values()})
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        runs = sum(len(cell.runs) for cell in one.cells.values())
        code = project.source(f"tests/atlas/on_{one.broker.key}.py")
        lines.append(
            f"- **{one.broker.label}**: {one.server}, three servers, with {one.client}; "
            f"{runs} runs, {when}. [Its settings and its client]({code})"
        )
    return "\n".join(lines)


# Plots.


def _plots(project: Project, key: str) -> str:
    """Return a plot of confirms over time for each broker that was asked this question."""
    asks = questions(project.root)
    if key not in asks:
        raise EvidenceError(f"no question is called {key!r}; there are: {', '.join(asks)}")
    return "\n\n".join(
        _plot(project, one, key)
        for one in asked(project.root)
        if any((setting.key, key) in one.cells for setting in one.settings)
    )


def _plot(project: Project, one: Asked, key: str) -> str:
    # Only pages with a plot need the time that loading this takes.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from handbook.labs.figures import STYLE, picture
    from handbook.labs.plot import inline as without_colours

    with mpl.rc_context(rc=STYLE):
        cells = [(s, one.cells[s.key, key]) for s in one.settings if (s.key, key) in one.cells]
        figure = Figure(figsize=(5.3, 1.0 + 1.15 * len(cells)))
        plots = figure.subplots(len(cells), 1, sharex=True, sharey=True, squeeze=False)
        said, most = [], 1
        for number, (axes, (setting, cell)) in enumerate(zip(plots.flat, cells, strict=True)):
            times, events = confirms(project.root, cell)
            began, ended = events["the fault begins"], events["the fault ends"]
            last = events["the load ends"]
            # The last second is not a whole one.
            counts = [sum(s <= at < s + 1 for at in times) for s in range(int(last))]
            axes.axvspan(began, ended, color="0.5", alpha=0.2, linewidth=0)
            axes.stairs(counts, color=f"C{number % 5}", baseline=None, linewidth=2)
            axes.set_title(setting.label.replace("`", ""), loc="left", fontsize=11)
            most = max(most, *counts)
            gap = _range(cell.values("gap"), 1)
            said.append(f"{setting.label.replace('`', '')}: none for {gap} s at the longest")
        plots[0][0].set_ylim(0, 1.05 * most)
        plots[-1][0].set_xlabel("time, s (grey: the fault)")
        figure.supylabel("confirms a second")
        figure.set_label(f"Confirms a second on {one.broker.label}. {'; '.join(said)}.")
        drawn = without_colours(picture(figure), f"atlas-{one.broker.key}-{key}")
    return (
        f'<figure class="plot"{attributes([one.broker.key])} data-search-exclude>{drawn}'
        f"<figcaption>{escape(one.server)}</figcaption></figure>"
    )


_PARTS = {"matrix": matrix, "questions": sections, "versions": versions}
