"""What a page takes from a snippet's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from handbook.snippet import Snippet, SnippetError, snippet

CODE = """import minibroker


async def work() -> None:
    if True:
        await message.ack()
    await message.ack()


class Ledger:
    pass
"""


@pytest.fixture
def shown(tmp_path: Path) -> Snippet:
    (tmp_path / "work_queue").mkdir()
    (tmp_path / "work_queue" / "on_minibroker.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "minibroker.py").write_text("", encoding="utf-8")
    return snippet(tmp_path, "work_queue/on_minibroker.py")


def test_a_text_is_found_wherever_it_stands(shown: Snippet) -> None:
    assert shown.lines_of("await message.ack()") == [range(6, 7), range(7, 8)]
    assert shown.lines_of("    if True:\n        await message.ack()\n") == [range(5, 7)]
    assert shown.lines_of("await nothing()") == []
    assert shown.lines_of("") == []


def test_a_section_is_a_function_or_class(shown: Snippet) -> None:
    assert shown.section("Ledger") == "class Ledger:\n    pass\n"
    with pytest.raises(SnippetError, match="work, Ledger"):
        shown.section("play")


def test_the_command_fetches_what_the_file_imports(shown: Snippet) -> None:
    assert shown.command("https://site/") == (
        "curl -O https://site/snippets/minibroker.py"
        " -O https://site/snippets/work_queue/on_minibroker.py\nuv run on_minibroker.py"
    )


def test_a_download_has_a_name_that_says_what_it_is(shown: Snippet, tmp_path: Path) -> None:
    assert shown.download_name == "work_queue_on_minibroker.py"
    assert Snippet(tmp_path, "communication/ask.py").download_name == "ask.py"
