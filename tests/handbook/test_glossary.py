"""Which words of a page become links into the glossary."""

from __future__ import annotations

from pathlib import Path

import markdown
import pytest

from handbook import page
from handbook.directives import rosetta
from handbook.directives.project import Project
from handbook.glossary import GlossaryError, GlossaryExtension, Term, terms

TERMS = """# Terms

## Parts

### Message queue

*Also: queue, work list*

Where messages wait. *Each* goes to [one](#x) consumer.

### Policy

A rule.

*RabbitMQ:* policy · *NATS:* `rule`, a stream's

### Stream

A log.

*NATS:* stream

### Event

News.
"""


@pytest.fixture(autouse=True)
def glossary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a small glossary, and a page two folders deep."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "terms.md").write_text(TERMS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page, "current", page.Page("patterns/page.md"))
    return tmp_path


def rendered(text: str) -> str:
    return markdown.markdown(text, extensions=[GlossaryExtension()])


def test_the_entries_of_the_page_of_terms(glossary: Path) -> None:
    assert terms(glossary) == [
        Term(
            "Message queue",
            ("queue", "work list"),
            "Where messages wait. Each goes to one consumer.",
        ),
        Term("Policy", (), "A rule.", (("RabbitMQ", "policy"), ("NATS", "`rule`, a stream's"))),
        Term("Stream", (), "A log.", (("NATS", "stream"),)),
        Term("Event", (), "News."),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a queue",
        "Queues wait",
        "*Message Queue*",
        "two message\nqueues",
        "The **queue**",
        "work lists",
    ],
)
def test_other_names_plurals_and_capitals_are_found(text: str) -> None:
    assert 'href="../terms.md#message-queue"' in rendered(text)


def test_a_y_becomes_ies() -> None:
    assert ">policies</a>" in rendered("Two policies.")


@pytest.mark.parametrize(
    "text",
    [
        "*Queue Processing*",
        "# A queue",
        "[a queue](x.md)",
        "`queue`",
        "queue-like",
        "queueing",
        "    queue",
    ],
)
def test_headings_links_code_and_other_words_are_left_alone(text: str) -> None:
    assert "term" not in rendered(text).replace("terms", "")


def test_only_the_first_mention_in_a_section_is_marked() -> None:
    html = rendered(
        "A queue, *a queue* and a policy.\n\n## Next\n\nA queue.\n\n### Sub\n\nA queue."
    )
    assert html.count('class="term"') == 3
    assert html.startswith('<p>A <a class="term"')
    assert "</a>, <em>a queue</em> and a <a" in html


def test_an_entry_does_not_refer_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "current", page.Page("terms.md"))
    html = rendered("## Parts\n\n### Message queue\n\n*Also: queue*\n\nA policy for a queue.")
    assert html.count('class="term"') == 1
    assert 'href="terms.md#policy"' in html


@pytest.mark.parametrize("name", ["Redis Streams", "the event loop"])
def test_a_word_inside_another_name_is_no_term(name: str) -> None:
    assert rendered(name) == f"<p>{name}</p>"


def test_a_broker_s_own_names_are_not_marked_on_the_page_of_terms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "*NATS:* a stream · *Kafka:* a queue"
    assert 'class="term"' in rendered(text)
    monkeypatch.setattr(page, "current", page.Page("terms.md"))
    html = rendered(text)
    assert 'class="term"' not in html
    assert '<p class="on-brokers">' in html


def test_a_common_term_is_marked_once_on_a_page() -> None:
    html = rendered("An event, a policy.\n\n## Next\n\nAn event, a policy.")
    assert html.count("#event") == 1
    assert html.count("#policy") == 2


def test_each_page_begins_anew() -> None:
    extension = markdown.Markdown(extensions=[GlossaryExtension()])
    assert all("#event" in extension.reset().convert("An event.") for _ in range(2))


def test_the_rosetta_stone_has_a_row_for_each_term_that_two_brokers_name(glossary: Path) -> None:
    project = Project(glossary, "", "")
    html = rosetta.table(project, "NATS, RabbitMQ")
    assert html.count('<th scope="row">') == 1
    assert '<a href="#policy">Policy</a>' in html
    assert '<a href="#stream">' not in html, "a name that only one broker has"
    assert "</span> <span><code>rule</code>, a stream's</span></td>" in html
    assert html.index("<code>rule") < html.index(">policy<")
    with pytest.raises(GlossaryError, match="no name by 'Kafka'; it has names by: NATS, RabbitMQ"):
        rosetta.table(project, "Kafka")


def test_a_term_has_one_entry(tmp_path: Path) -> None:
    """Also under another name of a term, as that leads to one place."""
    (tmp_path / "docs/terms.md").write_text(TERMS + "\n### Queue\n\nAgain.\n", encoding="utf-8")
    with pytest.raises(page.PageError, match=r"docs/terms.md:27: 'Queue' has an entry already"):
        terms(tmp_path)
