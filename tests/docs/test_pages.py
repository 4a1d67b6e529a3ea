"""Pages and snippets belong together: nothing without a page, no term that is not defined."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.docs.labs import LABS, prose
from tests.records import CLAIMS, ROOT, VERSIONS, clients
from tests.snippets.running import all_snippets, broker_key, name

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DIRECTIVE = re.compile(r"^\s*::: (code|claims|file|recording|support) (\S+)", re.MULTILINE)

each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())


def directives() -> set[tuple[str, str]]:
    """Return what the pages ask for: a directive's name and its topic or file."""
    return {found for page in PAGES for found in DIRECTIVE.findall(page.read_text())}


def test_no_snippet_without_a_page() -> None:
    shown = directives()
    orphans = [
        name(path)
        for path in all_snippets()
        if ("code", name(path.parent / "x").removesuffix("/x")) not in shown
        and ("file", name(path)) not in shown
    ]
    assert not orphans


def test_every_pattern_has_its_page_its_claims_and_its_test() -> None:
    for topic in {name(path.parent / "x").removesuffix("/x") for path in all_snippets()}:
        if not topic.startswith("patterns/"):
            continue
        words = topic.removeprefix("patterns/")
        page = DOCS / "patterns" / f"{words.replace('_', '-')}.md"
        text = page.read_text()
        for directive in (f"::: code {topic}", f"::: claims {topic}", "::: recording"):
            assert directive in text, f"{page} has no `{directive}`"
        assert (ROOT / "tests" / "patterns" / f"test_{words}.py").exists()


@each
def test_includes_name_sections_never_lines(page: Path) -> None:
    assert not re.findall(r"--8<--.*:\d", page.read_text())


@each
def test_no_block_is_marked_to_be_skipped(page: Path) -> None:
    assert not re.findall(r"^ *[`~]{3,}.*(skip|noqa|no-?run)", page.read_text(), re.MULTILINE)


#: The page says "not run" there. Kafka's copies are proven in tests/types/test_kafka.py.
NOT_PROVEN_YET = {
    "test_a_dead_letter_keeps_what_it_carries": {"kafka", "redis"},
    "test_each_attempt_carries_what_the_first_did": {"kafka", "redis"},
}


def test_every_claim_is_recorded_on_every_broker_of_its_pattern() -> None:
    recorded = json.loads(CLAIMS.read_text())
    for topic, entries in recorded.items():
        keys = {broker_key(path) for path in all_snippets() if name(path).startswith(topic + "/")}
        for entry in entries:
            there = set(entry["brokers"]) | NOT_PROVEN_YET.get(entry["id"], set())
            assert there == keys, f"{topic} {entry['id']}"
            assert f"def {entry['id']}(" in (ROOT / entry["test"]).read_text()


def test_recorded_clients_are_those_of_the_lock() -> None:
    recorded = json.loads(VERSIONS.read_text())
    assert {key: one["client"] for key, one in recorded.items()} == clients()


@pytest.mark.parametrize("page", [*PAGES, *LABS], ids=lambda page: page.stem)
def test_every_footnote_leads_to_the_references(page: Path) -> None:
    text = prose(page) if page in LABS else page.read_text()
    notes = re.findall(r"^\[\^[\w-]+\]: .+$", text, re.MULTILINE)
    depth = "../" * (len(page.relative_to(DOCS).parts) - 1)
    assert not [note for note in notes if f"]({depth}references.md#" not in note]


def test_every_work_has_one_anchor_and_no_other_has_it() -> None:
    _, *groups = (DOCS / "references.md").read_text().split("\n## ")
    works = [work for group in groups for work in group.split("\n- ")[1:]]
    anchors = [re.findall(r"\{#([\w-]+)\}", work) for work in works]
    assert [work for work, found in zip(works, anchors, strict=True) if len(found) != 1] == []
    assert len({found[0] for found in anchors}) == len(works)
