"""The colours of plots: those that a lab draws with, and the classes that a page gives them."""

from __future__ import annotations

#: `C0` to `C4` of the light scheme: also what a downloaded notebook shows.
SERIES = ("#0b5f70", "#c25500", "#8b1fd6", "#26305a", "#8a2248")
INK = "#17242b"
GREY = "#808080"
RULE = "#d5dee0"
PAPER = "#ffffff"

#: `docs/assets/css/labs.css` gives each class its colour in either scheme.
CLASSES = {
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES)},
    INK: "ink",
    "#000000": "ink",
    GREY: "grey",
    RULE: "rule",
    PAPER: "paper",
}
