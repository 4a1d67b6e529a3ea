"""`::: atlas plot leader-killed`: the confirms of one question over time, for each broker."""

from __future__ import annotations

from html import escape

from handbook.atlas import Asked, asked, confirms, questions, span
from handbook.directives.project import Project
from handbook.evidence import EvidenceError
from handbook.one_broker import attributes


def expand(project: Project, key: str) -> str:
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
        gaps, most = [], 1
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
            gap = span(cell.values("gap"), 1)
            gaps.append((setting.label.replace("`", ""), gap))
        plots[0][0].set_ylim(0, 1.05 * most)
        plots[-1][0].set_xlabel("time, s (grey: the fault)")
        figure.supylabel("confirms a second")
        said = "; ".join(f"{label}: none for {gap} s at the longest" for label, gap in gaps)
        figure.set_label(f"Confirms a second on {one.broker.label}. {said}.")
        drawn = without_colours(picture(figure), f"atlas-{one.broker.key}-{key}")
    longest = "; ".join(f"{gap} s with {label}" for label, gap in gaps)
    caption = f"{one.server}. The longest time without a confirm: {longest}."
    return (
        f'<figure class="plot"{attributes([one.broker.key])} data-search-exclude>{drawn}'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
