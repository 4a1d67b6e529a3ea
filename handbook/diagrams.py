"""Mermaid source to one SVG whose colours are CSS variables, so that it follows the theme."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from html import escape

import merman  # type: ignore[import-untyped]

_ROLES = ("surface", "text", "border", "line", "tint", "note", "note-border", "page")
# The renderer drops var() from theme variables: it gets colours that stand for a role, and each
# is replaced by the role's variable afterwards.
_COLOURS = {role: f"#fe{number:02x}ef" for number, role in enumerate(_ROLES, start=16)}
_THEME = {
    "surface": "primaryColor mainBkg actorBkg labelBoxBkgColor",
    "text": "primaryTextColor secondaryTextColor tertiaryTextColor actorTextColor signalTextColor "
    "labelTextColor loopTextColor noteTextColor titleColor nodeTextColor textColor",
    "border": "primaryBorderColor secondaryBorderColor tertiaryBorderColor actorBorder "
    "labelBoxBorderColor actorLineColor nodeBorder clusterBorder activationBorderColor",
    "line": "lineColor signalColor defaultLinkColor",
    "tint": "secondaryColor tertiaryColor clusterBkg activationBkgColor",
    "note": "noteBkgColor",
    "note-border": "noteBorderColor",
    "page": "background edgeLabelBackground sequenceNumberColor",
}
_INIT = {
    "theme": "base",
    "fontFamily": "inherit",
    "htmlLabels": False,
    "flowchart": {"htmlLabels": False, "padding": 14, "nodeSpacing": 40, "rankSpacing": 44},
    "sequence": {
        "diagramMarginX": 8,
        "diagramMarginY": 6,
        "actorMargin": 6,
        "boxMargin": 6,
        "height": 44,
        "messageMargin": 30,
        "mirrorActors": False,
        "width": 70,
    },
    "themeVariables": {
        "fontSize": "15px",
        **{name: _COLOURS[role] for role, names in _THEME.items() for name in names.split()},
    },
}
_UNUSED = re.compile(r'<defs><symbol id="[^"]*-(?:computer|database|clock)".*?</symbol></defs>')
_TITLES = re.compile(r"<(title|desc)\b[^>]*>.*?</\1>", re.S)
_ROOT = re.compile(r"<svg\b[^>]*>")
_ID = re.compile(r' id="([^"]*)"')
#: What the renderer notes for Mermaid's own scripts, which no page loads.
_NOTES = re.compile(r' (?:data-(?:edge|et|from|id|points|to|type)|name)="[^"]*"')
_UNNAMED = re.compile(r"<(marker|filter)(?![^>]* id=)[^>]*>.*?</\1>", re.S)
_VIEW_BOX = re.compile(r'viewBox="([^"]+)"')


class DiagramError(Exception):
    """A diagram can't be drawn. The message says why."""


@lru_cache(maxsize=1)
def _engine() -> merman.MermanEngine:
    return merman.MermanEngine(options_json='{"svg":{"pipeline":"readable"}}', services=None)


def described(source: str) -> tuple[str, str]:
    """Return the title and the description that the source carries for screen readers."""
    title = re.search(r"^\s*(?:accTitle|title)\s*:\s*(.+?)\s*$", source, re.M)
    description = re.search(
        r"^\s*accDescr\s*(?::\s*(?P<line>.+?)\s*$|\{(?P<block>[^}]*)\})", source, re.M
    )
    text = (description["line"] or description["block"] or "") if description else ""
    return title[1] if title else "", " ".join(text.split())


def render(source: str, title: str, description: str) -> tuple[str, int]:
    """Return the SVG of a diagram and its natural width in pixels."""
    ident = "d" + hashlib.sha256(source.encode()).hexdigest()[:8]
    init = "%%{init: " + json.dumps(_INIT) + "}%%\n"
    plain = re.sub(r"^\s*(?:accTitle|title|accDescr)\s*:.*\n?", "", source, flags=re.M)
    plain = re.sub(r"^\s*accDescr\s*\{[^}]*\}\n?", "", plain, flags=re.M)
    try:
        svg = _engine().render_svg(init + plain, json.dumps({"svg": {"diagram_id": ident}}))
    except merman.MermanError as error:
        reason = re.search(r"message='(.*)'", str(error), re.S)
        raise DiagramError(
            f"the Mermaid source can't be drawn: {reason[1] if reason else error}"
        ) from None
    for role, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--diagram-{role})")
    svg = _TITLES.sub("", _UNUSED.sub("", svg))
    # The renderer gives two diagrams the same ids. The picture needs those that it names itself.
    svg = _ID.sub(lambda each: each[0] if f"#{each[1]}" in svg else "", svg)
    svg = _UNNAMED.sub("", _NOTES.sub("", svg)).replace("<defs></defs>", "")
    box = _VIEW_BOX.search(svg)
    if not box:
        raise DiagramError("the renderer gave a picture without a size")
    width = round(float(box[1].split()[2]))
    head = (
        f'<svg id="{ident}" xmlns="http://www.w3.org/2000/svg" viewBox="{box[1]}" role="img" '
        f'aria-labelledby="{ident}-title" aria-describedby="{ident}-desc">'
        f'<title id="{ident}-title">{escape(title)}</title>'
        f'<desc id="{ident}-desc">{escape(description)}</desc>'
    )
    return _ROOT.sub(lambda _: head, svg, count=1).replace("\n", " "), width
