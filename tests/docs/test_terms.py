"""The glossary: two sentences a term, an anchor each, and no term that nobody uses.

A term counts as used if another page says it, or the definition of another term does. The
second is there because a reader who follows a definition meets words that no chapter has used
yet; `test_most_terms_are_used_on_a_page` keeps it from becoming the rule.
"""

from __future__ import annotations

import re

import markdown
import pytest
from markdown.extensions.toc import slugify

from handbook.glossary import COMMON, SOURCE, GlossaryTreeprocessor, Term, terms
from tests.docs.labs import LABS, prose
from tests.records import ROOT

DOCS = ROOT / "docs"
TERMS = terms(ROOT)
COLUMNS = {"RabbitMQ", "Kafka", "NATS", "Redis", "MQTT", "PostgreSQL", "SQS/SNS", "Pub/Sub"}
each = pytest.mark.parametrize("term", TERMS, ids=lambda term: term.anchor)


def marked(text: str) -> set[str]:
    """Return the anchors of the terms that are marked in a text."""
    text = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.M | re.S)
    reader = markdown.Markdown(extensions=["fenced_code", "footnotes", "tables"])
    reader.treeprocessors.register(GlossaryTreeprocessor(reader, TERMS), "glossary", 8)
    return set(re.findall(r'class="term" href="[^"#]*#([^"]+)"', reader.convert(text)))


def test_there_are_at_least_100_terms() -> None:
    assert len(TERMS) >= 100


def test_every_heading_of_the_page_has_an_anchor_of_its_own() -> None:
    headings = re.findall(r"^#{1,6} (.+)$", (DOCS / SOURCE).read_text(), re.M)
    anchors = [slugify(heading, "-") for heading in headings]
    assert len(anchors) == len(set(anchors))
    assert {term.anchor for term in TERMS} <= set(anchors)
    assert len(re.findall(r"^### ", (DOCS / SOURCE).read_text(), re.M)) == len(TERMS)


def test_no_word_stands_for_two_terms() -> None:
    words = [word.lower() for term in TERMS for word in (term.name, *term.also)]
    assert not {word for word in words if words.count(word) > 1}


def test_common_terms_are_terms() -> None:
    assert {term.name.lower() for term in TERMS} >= COMMON


@each
def test_a_definition_has_two_sentences_at_most(term: Term) -> None:
    assert re.search(r"[.]$", term.definition)
    assert len(re.findall(r"[.!?](?= |$)", term.definition)) <= 2


@each
def test_names_on_brokers_are_by_brokers_that_the_rosetta_stone_shows(term: Term) -> None:
    brokers = [broker for broker, _ in term.on_brokers]
    assert set(brokers) <= COLUMNS
    assert len(brokers) == len(set(brokers))


def test_each_term_is_used_and_most_on_a_page() -> None:
    on_pages = set[str]().union(
        *(marked(page.read_text()) for page in DOCS.rglob("*.md") if page.name != SOURCE),
        *(marked(prose(lab)) for lab in LABS),
    )
    within = {term.name: marked(term.definition) for term in TERMS}
    not_on_pages = [term for term in TERMS if term.anchor not in on_pages]
    unused = [
        term.name
        for term in not_on_pages
        if not any(term.anchor in found for name, found in within.items() if name != term.name)
    ]
    assert not unused
    assert len(not_on_pages) * 3 < len(TERMS), [term.name for term in not_on_pages]
