"""Runs in the kernel of a lab: each figure that a cell leaves open becomes an SVG picture below it.

IPython loads it as an extension. A lab itself uses plain matplotlib and knows nothing of this.
"""

from __future__ import annotations

import io
from html import escape
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from IPython.display import display
from matplotlib.figure import Figure

from handbook.labs.palette import GREY, INK, RULE, SERIES

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=SERIES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    # A phone shows it at this width, where the letters are as large as a caption's.
    "figure.figsize": (5.3, 3.3),
    "font.size": 12,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": "medium",
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "path.simplify_threshold": 0.5,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "handbook",
    "text.color": INK,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}
NO_DATE = {"Date": None, "Creator": None, "Format": None, "Type": None}


def load_ipython_extension(shell: Any) -> None:
    """Set the style, and look for open figures after each cell."""
    mpl.rcParams.update(STYLE)
    shell.events.register("post_execute", show)


def show() -> None:
    """Show the open figures as SVG, and close them."""
    try:
        for number in plt.get_fignums():
            display({"image/svg+xml": picture(plt.figure(number))}, raw=True)
    finally:
        plt.close("all")


def picture(figure: Figure) -> str:
    """Return the figure as SVG that carries its text alternative."""
    alternative = " ".join(str(figure.get_label()).split())
    if not alternative:
        raise ValueError("a figure needs a text alternative: fig.set_label('what it shows')")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=NO_DATE)
    svg = file.getvalue()
    # Notebooks show it on white. The page takes this off again.
    head = f'<svg role="img" aria-label="{escape(alternative)}" style="background: #fff" '
    return svg[svg.index("<svg") :].replace("<svg ", head, 1)
