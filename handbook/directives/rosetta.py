"""`::: rosetta RabbitMQ, Kafka`: what each broker calls the same thing, from the glossary."""

from __future__ import annotations

import re
from html import escape

from handbook.brokers import leading
from handbook.directives.project import Project
from handbook.glossary import GlossaryError, Term, terms
from handbook.one_broker import attributes


def table(project: Project, brokers: str) -> str:
    """Return a table term by broker, with the terms that can be compared."""
    shown = [each.strip() for each in brokers.split(",")]
    entries = terms(project.root)
    known = {broker for term in entries for broker, _ in term.on_brokers}
    for broker in shown:
        if broker not in known:
            raise GlossaryError(
                f"the glossary has no name by {broker!r}; it has names by: "
                + (", ".join(sorted(known)) or "none")
            )
    heads = "".join(
        f'<th scope="col"{attributes(leading(broker))}>{escape(broker)}</th>' for broker in shown
    )
    rows = "".join(_row(term, shown) for term in entries if _comparable(term, shown))
    return (
        '<table class="rosetta"><thead>'
        f'<tr><th scope="col">Term</th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _comparable(term: Term, shown: list[str]) -> bool:
    """Tell whether one of these brokers has a name for it, and it is not that broker's alone."""
    names = {broker for broker, _ in term.on_brokers}
    return len(names) > 1 and bool(names & {*shown})


def _row(term: Term, shown: list[str]) -> str:
    names = dict(term.on_brokers)
    cells = "".join(_cell(broker, names.get(broker)) for broker in shown)
    link = f'<a href="#{term.anchor}">{escape(term.name)}</a>'
    row = re.sub("[^a-z]+", "-", "-".join(shown).lower()) + f"-{term.anchor}"
    return f'<tr id="{row}"><th scope="row">{link}</th>{cells}</tr>'


def _cell(broker: str, name: str | None) -> str:
    if name is None:
        return f'<td class="rosetta-none"{attributes(leading(broker))}>&ndash;</td>'
    # A narrow column breaks a name where a reader would: after `_` or before a capital.
    text = re.sub(r"([_./])(?=\w)|(?<=[a-z])(?=[A-Z])", r"\1<wbr>", escape(name, quote=False))
    typed = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    # A card on a phone has no head of columns: there, each name says whose it is.
    label = f'<span class="rosetta-broker">{escape(broker)}</span>'
    return f"<td{attributes(leading(broker))}>{label} <span>{typed}</span></td>"
