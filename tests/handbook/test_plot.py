"""Plots: repeatable, in the page's colours, and visible in both schemes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from handbook.labs.palette import CLASSES, SERIES
from handbook.labs.plot import PlotError, inline
from tests.records import ROOT

CSS = ROOT / "docs" / "assets" / "css"


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    """Draw as the kernel of a lab does. What draws is loaded here: it takes a second."""
    import matplotlib as mpl

    from handbook.labs.figures import STYLE

    with mpl.rc_context(rc=STYLE):
        yield


def drawn(colour: str = "C1", label: str = "A line that rises & a point.") -> str:
    """Return a figure with a line, markers and text."""
    from matplotlib.figure import Figure

    from handbook.labs.figures import picture

    figure = Figure(label=label)
    axes = figure.subplots()
    axes.plot([1, 2, 3], [1.23456, 4, 9], "--", marker="o", color=colour)
    axes.set_xlabel("time, s")
    return picture(figure)


def test_a_plot_is_the_same_each_time() -> None:
    assert drawn() == drawn()


def test_a_plot_takes_the_pages_colours_font_and_width() -> None:
    svg = inline(drawn(), "one")
    assert 'role="img" aria-label="A line that rises &amp; a point."' in svg
    assert 'class="stroke-series-1"' in svg
    assert ">time, s</text>" in svg
    for foreign in ("style", "#c25500", "font-family", "metadata", 'width="381'):
        assert foreign not in svg
    assert not re.findall(r' (?:d|x|y)="[^"]*\.\d\d', svg)


def test_identifiers_are_the_pictures_own_and_all_lead_somewhere() -> None:
    first, second = inline(drawn(), "one"), inline(drawn(), "two")
    names = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert not names[0] & names[1]
    assert set(re.findall(r"#([\w-]+)", first)) == names[0] != set()


def test_a_plot_without_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="text alternative"):
        drawn(label="")


def test_a_colour_without_a_twin_is_refused() -> None:
    with pytest.raises(PlotError, match="#ff0000"):
        inline(drawn("red"), "one")


def test_letters_side_by_side_become_one_piece() -> None:
    from matplotlib.figure import Figure

    from handbook.labs.figures import picture

    figure = Figure(label="Powers of ten.")
    figure.subplots().set_xlabel("$10^2$")
    assert re.findall(r"<tspan[^>]*>(\w+)</tspan>", inline(picture(figure), "one")) == ["10", "2"]


def schemes() -> dict[str, dict[str, str]]:
    """Return each scheme's colours, by the name of their variable."""
    text = "".join((CSS / name).read_text() for name in ("palette.css", "labs.css"))
    light: dict[str, str] = {}
    dark: dict[str, str] = {}
    for selector, block in re.findall(r"(\[data-md-color-scheme[^{]*)\{([^}]*)\}", text):
        found = dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{3,6});", block))
        (dark if "slate" in selector else light).update(found)
    return {"light": light, "dark": light | dark}


def brightness(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    full = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(full[i:j], 16) / 255 for i, j in pairwise((1, 3, 5, 7))]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [f"series-{number}" for number in range(len(SERIES))])
def test_lines_and_their_labels_stand_out(scheme: str, name: str) -> None:
    """4.5 to 1 is what letters need; a label has its line's colour."""
    colours = schemes()[scheme]
    lighter, darker = sorted(map(brightness, (colours[name], colours["paper"])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axes_stand_out(scheme: str) -> None:
    colours = schemes()[scheme]
    lighter, darker = sorted(
        map(brightness, (colours["plot-grey"], colours["paper"])), reverse=True
    )
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_a_lab_draws_with_the_colours_of_the_light_scheme() -> None:
    light = schemes()["light"]
    assert [light[f"series-{number}"] for number in range(len(SERIES))] == list(SERIES)
    style = (CSS / "labs.css").read_text()
    for name in CLASSES.values():
        assert f".fill-{name} " in style
        assert f".stroke-{name} " in style
