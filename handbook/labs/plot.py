"""From matplotlib's SVG to a picture in the page: light, without colours or identifiers of its own.

Colours become classes, so that they follow the scheme. What the style sheet can say goes, and so
do names that nothing refers to and decimals that nobody sees.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from handbook.labs.palette import CLASSES

_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"#([\w-]+)")
_KEPT = {
    "fill-opacity",
    "font-size",
    "font-style",
    "font-weight",
    "opacity",
    "stroke-dasharray",
    "stroke-opacity",
    "stroke-width",
    "text-anchor",
}
_DEFAULTS = {
    ("font-size", "12px"),
    ("text-anchor", "start"),
    ("stroke-width", "1"),
    ("opacity", "1"),
}
_ROUNDED = {"d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "points"}


class PlotError(Exception):
    """A figure can't be shown on a page."""


def inline(svg: str, prefix: str) -> str:
    """Return the picture for a page on which no other has this prefix."""
    root = ElementTree.fromstring(svg)
    alternative = root.get("aria-label")
    if not alternative:
        raise PlotError("a figure has no text alternative: fig.set_label('what it shows')")
    _, _, width, height = root.attrib["viewBox"].split()
    used = {name for each in root.iter() for name in _referred(each)}
    names = {name: f"{prefix}-{number}" for number, name in enumerate(sorted(used), start=1)}
    _tidy(root, names)
    root.attrib.clear()
    root.attrib |= {"role": "img", "aria-label": alternative, "viewBox": f"0 0 {width} {height}"}
    return ElementTree.tostring(root, encoding="unicode")


def _referred(element: Element) -> list[str]:
    """Return the identifiers that an element points to."""
    values = [value for key, value in element.items() if key.endswith(("href", "clip-path"))]
    return [name for value in values for name in _REFERENCE.findall(value)]


def _tidy(element: Element, names: dict[str, str]) -> None:
    """Rewrite an element and all below it."""
    element.tag = element.tag.rpartition("}")[2]
    element.tail = None
    if len(element) or element.tag not in {"text", "tspan"}:
        element.text = None
    element.attrib = _attributes(element, names)
    if element.tag == "text":
        _join_letters(element)
    children: list[Element] = []
    for child in element:
        if child.tag.endswith(("metadata", "style")):
            continue
        _tidy(child, names)
        if child.tag == "g" and not child.attrib:
            children += child
        elif len(child) or child.tag not in {"g", "defs"}:
            children.append(child)
    element[:] = children


def _attributes(element: Element, names: dict[str, str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for name, value in element.items():
        key = name.rpartition("}")[2]
        if key == "style":
            result |= _style(value)
        elif key == "id":
            if value in names:
                result["id"] = names[value]
        elif key in {"href", "clip-path"}:
            # The theme's script writes to every `href` that it finds, and a picture's is fixed.
            key = "xlink:href" if key == "href" else key
            result[key] = _REFERENCE.sub(lambda found: "#" + names[found[1]], value)
        elif key == "transform":
            if not re.fullmatch(r"rotate\(-?0 .*\)", value):
                result[key] = value if "scale" in value else _short(value)
        elif key in _ROUNDED:
            result[key] = _short(value)
    return result


def _style(style: str) -> dict[str, str]:
    """Return attributes for declarations, and classes for their colours."""
    result: dict[str, str] = {}
    classes: list[str] = []
    for declaration in filter(None, (each.strip() for each in style.split(";"))):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name in {"fill", "stroke"}:
            if value == "none":
                result[name] = value
            elif value in CLASSES:
                classes.append(f"{name}-{CLASSES[value]}")
            else:
                raise PlotError(f"the colour {value} has no dark twin: use C0 to C4, or '0.5'")
        elif name in _KEPT and (name, value) not in _DEFAULTS:
            result[name] = _short(value.removesuffix("px"))
    if classes:
        result["class"] = " ".join(classes)
    return result


def _join_letters(text: Element) -> None:
    """Make one piece of letters that stand side by side: they were set for another font."""
    runs: list[Element] = []
    for span in text:
        last = runs[-1] if runs else None
        if last is not None and all(last.get(k) == span.get(k) for k in ("y", "style")):
            last.text = (last.text or "") + (span.text or "")
        else:
            runs.append(span)
    text[:] = runs


def _short(value: str) -> str:
    """Return the value with one decimal, and with single spaces."""
    rounded = _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", " ".join(rounded.split())).replace("-0 ", "0 ")
