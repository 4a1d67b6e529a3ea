"""Pages and snippets belong together: nothing without a page, no term that is not defined."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.labs import LABS, prose
from tests.patterns.claims import all_claims
from tests.records import AGAIN, CLAIMS, ROOT, VERSIONS, clients
from tests.snippets.running import all_snippets, broker_key, name

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DIRECTIVE = re.compile(r"^\s*::: (code|claims|file|idea|recording|support) (\S+)", re.MULTILINE)

each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())


def directives() -> set[tuple[str, str]]:
    """Return what the pages ask for: a directive's name and its topic or file."""
    return {found for page in PAGES for found in DIRECTIVE.findall(page.read_text())}


def test_no_snippet_without_a_page() -> None:
    shown = directives()
    orphans = [
        name(path)
        for path in all_snippets()
        if ("idea" if path.stem.startswith("idea") else "code", name(path.parent)) not in shown
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


def test_every_claim_names_every_broker_of_its_pattern() -> None:
    for claim in all_claims():
        keys = {
            broker_key(path)
            for path in all_snippets()
            if name(path).startswith(f"{claim.topic}/on_")
        }
        there = set(claim.proofs)
        assert there == keys, f"{claim.test}: {claim.name}"


@pytest.mark.parametrize("topic", sorted({claim.topic for claim in all_claims()}))
def test_what_is_recorded_is_what_the_tests_say(topic: str) -> None:
    """Sentences, lines, what is seen, order, promise: a run adds only that it was so."""
    recorded = json.loads(CLAIMS.read_text()).get(topic, [])
    said = [claim.recorded() for claim in all_claims() if claim.topic == topic]
    assert [entry["id"] for entry in recorded] == [entry["id"] for entry in said], AGAIN
    for entry, claim in zip(recorded, said, strict=True):
        assert entry == claim, f"{claim['test']}: {claim['id']}: {AGAIN}"


def test_every_recorded_pattern_has_its_tests() -> None:
    assert list(json.loads(CLAIMS.read_text())) == sorted({one.topic for one in all_claims()})


def test_one_claim_of_each_pattern_is_its_promise() -> None:
    promises = Counter({claim.topic: 0 for claim in all_claims()})
    promises.update(claim.topic for claim in all_claims() if claim.promise)
    assert {topic for topic, count in promises.items() if count != 1} == set()


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
