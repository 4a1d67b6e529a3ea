"""One broker at a time: which parts of a page speak of which brokers, so that some can be hidden.

An author writes ordinary tables, lists, tabs and headings. What begins with the names of brokers is
marked with `data-for="kafka mqtt"`. Where all rows, columns or tabs of something are marked, it has
their union as `data-of`: a reader whose broker is not among them sees all of it, and not an empty
table. `{ data-for="kafka" }` marks anything else by hand. The style sheet broker.css hides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from markdown.util import HTML_PLACEHOLDER_RE

from handbook.brokers import BROKERS, leading

FOR, OF = "data-for", "data-of"
_HEADINGS = ("h2", "h3", "h4")


class OneBrokerExtension(Extension):
    """Register the marking, and the switch at the head of a page."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Run after the attribute lists (8), and before headings get their permanent links (5)."""
        md.treeprocessors.register(OneBroker(md), "one_broker", 6)


class OneBroker(Treeprocessor):
    """Mark what speaks of single brokers, and let the reader choose one."""

    def run(self, root: Element) -> None:
        """Mark tables, lists, tabs and sections, from the inside out."""
        for table in root.iter("table"):
            _mark_columns(table)
            _mark_rows(table)
        for items in (each for tag in ("ul", "ol") for each in root.iter(tag)):
            _mark_items(items)
        for tabs in root.iter("div"):
            if "tabbed-set" in tabs.get("class", "").split():
                _mark_tabs(tabs)
        _mark_sections(root)
        self._offer(root)

    def _offer(self, root: Element) -> None:
        """Put the switch behind the title of a page that speaks of two brokers or more."""
        raw = "".join(each for each in self.md.htmlStash.rawHtmlBlocks if isinstance(each, str))
        named = {key for each in root.iter() for key in each.get(FOR, "").split()}
        named |= {broker.key for broker in BROKERS if f'{FOR}="{broker.key}"' in raw}
        title = next((index for index, each in enumerate(root) if each.tag == "h1"), None)
        if title is None or len(named) < 2:
            return
        root.insert(title + 1, switch(named))


def switch(keys: Collection[str]) -> Element:
    """Return the list to choose from. Scripts show it: without them, everything is on the page."""
    shown = [broker for broker in BROKERS if broker.key in keys]
    box = Element("div", {"class": "broker-switch", "data-on": " ".join(b.key for b in shown)})
    box.set("hidden", "hidden")
    SubElement(box, "label", {"for": "broker-choice"}).text = "Broker"
    choice = SubElement(box, "select", id="broker-choice")
    SubElement(choice, "option", value="").text = "Compare all"
    for broker in shown:
        SubElement(choice, "option", value=broker.key).text = broker.label
    SubElement(box, "span", role="status")
    return box


def attributes(keys: Sequence[str]) -> str:
    """Return what marks an HTML tag that is written as text, with the space before it."""
    return f' {FOR}="{" ".join(keys)}"' if keys else ""


def _text(element: Element) -> str:
    return "".join(element.itertext())


def _mark(elements: Sequence[Element], names: Sequence[list[str]], whole: Element) -> None:
    """Mark each element that has names; if all have, note on `whole` whom it is about."""
    for element, keys in zip(elements, names, strict=True):
        if keys:
            element.set(FOR, " ".join(keys))
    if all(names):
        about = {key for keys in names for key in keys}
        whole.set(OF, " ".join(broker.key for broker in BROKERS if broker.key in about))


def _mark_rows(table: Element) -> None:
    rows = [row for body in table.iter("tbody") for row in body if len(row)]
    names = [leading(_text(row[0])) for row in rows]
    # One row with a broker's name among protocols or settings is no comparison of brokers.
    if len({key for keys in names for key in keys}) > 1 and 2 * sum(map(bool, names)) > len(rows):
        _mark(rows, names, table)


def _mark_columns(table: Element) -> None:
    head = next((row for part in table.iter("thead") for row in part), None)
    if head is None:
        return
    names = [leading(_text(cell)) for cell in head][1:]
    if len({key for keys in names for key in keys}) < 2:
        return
    _mark(list(head)[1:], names, table)
    for body in table.iter("tbody"):
        for row in body:
            for cell, keys in zip(list(row)[1:], names, strict=False):
                if keys:
                    cell.set(FOR, " ".join(keys))


def _mark_items(items: Element) -> None:
    entries = [each for each in items if each.tag == "li"]
    names = [
        leading(_text(strong)) if (strong := _first(each)) is not None else [] for each in entries
    ]
    if any(names):
        _mark(entries, names, items)


def _first(item: Element) -> Element | None:
    """Return the bold text with which an item begins."""
    inside = item[0] if len(item) and item[0].tag == "p" else item
    if (inside.text or "").strip() or not len(inside) or inside[0].tag != "strong":
        return None
    return inside[0]


def _mark_tabs(tabs: Element) -> None:
    labels = tabs.findall("div[@class='tabbed-labels']/label")
    blocks = tabs.findall("div[@class='tabbed-content']/div[@class='tabbed-block']")
    names = [leading(_text(label)) for label in labels]
    if len(labels) == len(blocks) and any(names):
        _mark(labels, names, tabs)
        _mark(blocks, names, tabs)
        _mark(tabs.findall("input"), names, tabs)


def _mark_sections(root: Element) -> None:
    """Mark the sections under a broker's name, or under `Kafka: …`, on a page that has several."""
    titles = [each for each in root if each.tag in _HEADINGS and _names_first(each)]
    spoken = {key for each in root.iter() for key in each.get(FOR, "").split()}
    spoken |= {key for each in titles for key in leading(_text(each))}
    for tag in _HEADINGS:
        heads = [each for each in root if each.tag == tag and _is_name(each)]
        if len({key for each in heads for key in leading(_text(each))}) < 2:
            heads = []
        if len(spoken) > 1:
            heads += [each for each in titles if each.tag == tag]
        if not heads:
            continue
        keys: list[str] = []
        for each in root:
            if each.get("class") == "footnote":
                break
            if each.tag in ("h1", *_HEADINGS[: _HEADINGS.index(tag) + 1]):
                keys = leading(_text(each)) if each in heads else []
            if keys and not each.get(FOR):
                each.set(FOR, " ".join(keys))
                if HTML_PLACEHOLDER_RE.fullmatch((each.text or "").strip()) and not len(each):
                    # What comes in its place is a block, and would end a paragraph.
                    each.tag = "div"


def _names_first(heading: Element) -> bool:
    """Say whether a heading is about the brokers that stand before its colon."""
    about, colon, _ = _text(heading).strip().partition(": ")
    return bool(colon) and all(
        any(name in (broker.label, *broker.also) for broker in BROKERS)
        for name in about.split(", ")
    )


def _is_name(heading: Element) -> bool:
    text = _text(heading).strip()
    return any(text in (broker.label, *broker.also) for broker in BROKERS)


def makeExtension(**kwargs: Any) -> OneBrokerExtension:  # noqa: N802
    """Make the extension; Python-Markdown looks this name up."""
    return OneBrokerExtension(**kwargs)
