"""What is handed to Pagefind, and a machine that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from handbook import search
from handbook.glossary import Term


def test_a_page_is_found_by_its_article_and_its_words() -> None:
    """Navigation is no part of it; code weighs less than prose."""
    output = (
        "<nav>Kafka</nav><article><h1>Work queue</h1>"
        '<div class="snippet highlight"><pre>import asyncio</pre></div></article>'
    )
    found = search.entry("patterns/work-queue/", "Work queue", "Patterns", output, "job, task")
    assert found.words == ["job", "task"]
    assert "<nav>" not in found.document
    assert '<div data-pagefind-weight="0.3" class="snippet highlight">' in found.document
    assert 'data-pagefind-meta="words[content]" content="job, task"' in found.document


def test_a_term_is_found_by_its_other_names_and_by_what_brokers_call_it() -> None:
    """It has an address of its own."""
    term = Term("Dead letter", ("DLQ",), "What nobody could handle.", (("NATS", "terminated"),))
    (found,) = search.terms([term], "terms/")
    assert (found.address, found.words) == ("terms/#dead-letter", ("DLQ",))
    assert "<p>What nobody could handle.</p><p>NATS: terminated</p>" in found.content


def test_without_a_program_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The site is built all the same."""
    monkeypatch.setattr(search, "_program", lambda: None)
    search.write([], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_found_by_its_heading_and_its_text() -> None:
    """Each one has an address of its own, and its text weighs as much as prose."""
    output = (
        "<article><h1>Errors of Redis</h1><p>Before.</p>"
        '<h2 id="crossslot"><code>CROSSSLOT</code> Keys<a class="headerlink" href="#x">¶</a></h2>'
        '<div class="error highlight"><pre>CROSSSLOT Keys in request</pre></div>'
        '<h2 id="nogroup">NOGROUP</h2><p>No such key.</p></article>'
    )
    page = search.entry("errors/redis/", "Redis", "Errors", output, "")
    first, second = search.errors_of(page)
    assert (first.address, first.title) == ("errors/redis/#crossslot", "CROSSSLOT Keys")
    assert 'class="error highlight"' in first.document
    assert "data-pagefind-weight" not in first.document
    assert second.content == "<h1>NOGROUP</h1><p>No such key.</p></article>"
